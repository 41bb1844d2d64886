//! Door: the VAE's convolutions.

use candle_core::{Result, Tensor};

/// The four convolutions of a VAE: what is around the window, and what happens to the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvForm {
    /// 1×1: every position by itself.
    Pointwise,
    /// 3×3 with a border of one zero: the size stays.
    Same,
    /// 3×3 with stride 2 after one zero at the right and at the bottom, none at the left and the top
    /// (`Downsample2D` with `padding=0` in diffusers): both sides halve, rounding down.
    Downsample,
    /// Nearest neighbour ×2, then 3×3 with a border of one zero: both sides double.
    Upsample,
}

impl ConvForm {
    /// The side of the window.
    pub fn kernel_size(self) -> usize {
        match self {
            Self::Pointwise => 1,
            Self::Same | Self::Downsample | Self::Upsample => 3,
        }
    }
}

/// `x [n, in, h, w]`, `weight [out, in, k, k]`, `bias [out]` → `[n, out, h', w']`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, form: ConvForm) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let k = form.kernel_size();
    if weight.dims4()? != (bias.dim(0)?, x.dim(1)?, k, k) {
        candle_core::bail!("conv2d {form:?}: weight {:?} does not fit x {:?}", weight.dims(), x.dims());
    }
    let y = match form {
        ConvForm::Pointwise => x.conv2d(weight, 0, 1, 1, 1)?,
        ConvForm::Same => x.conv2d(weight, 1, 1, 1, 1)?,
        ConvForm::Downsample => {
            x.pad_with_zeros(3, 0, 1)?.pad_with_zeros(2, 0, 1)?.conv2d(weight, 0, 2, 1, 1)?
        }
        ConvForm::Upsample => x.upsample_nearest2d(2 * height, 2 * width)?.conv2d(weight, 1, 1, 1, 1)?,
    };
    y.broadcast_add(&bias.reshape((1, (), 1, 1))?)
}
