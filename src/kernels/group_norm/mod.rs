//! Door: group norm (Wu & He 2018), and the SiLU that follows it nearly everywhere.

use candle_core::{D, Result, Tensor};

/// What is applied to the normalised values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x · sigmoid(x)`
    Silu,
}

/// `x [n, c, h, w]` → `(x − mean) / sqrt(var + eps) · weight + bias`, then the activation.
///
/// Mean and (biased) variance are those of a group: the c / groups neighbouring channels and all positions.
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    (groups, eps): (usize, f64),
    activation: Activation,
) -> Result<Tensor> {
    let (n, channels, height, width) = x.dims4()?;
    if groups == 0 || channels % groups != 0 || weight.dims() != [channels] || bias.dims() != [channels] {
        candle_core::bail!("group_norm: {groups} groups, weight {:?}, x {:?}", weight.dims(), x.dims());
    }
    let grouped = x.reshape((n, groups, channels / groups * height * width))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?.reshape(x.shape())?;
    let y = normed.broadcast_mul(&weight.reshape((1, (), 1, 1))?)?.broadcast_add(&bias.reshape((
        1,
        (),
        1,
        1,
    ))?)?;
    match activation {
        Activation::None => Ok(y),
        Activation::Silu => y.silu(),
    }
}
