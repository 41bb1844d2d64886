//! Weights from a formula instead of a stored checkpoint: a hash of the tensor's name and the index, scaled by the
//! fan-in. The same as `formula_weights` in `tests/golden/formulas.py`.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

/// Returns the values of the tensor `name` of `shape`, row by row.
pub fn weights(name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let spread = (3.0 / fan_in as f64).sqrt();
    let value = |t: f64| match shape.len() {
        1 if name.ends_with(".weight") => 1.0 + 0.1 * t,
        1 => 0.05 * t,
        _ => t * spread,
    };
    let seed = fnv1a64(name);
    (1..=shape.iter().product::<usize>()).map(|i| value(2.0 * unit(seed, i as u64) - 1.0) as f32).collect()
}

/// The FNV-1a hash of the bytes of `text`.
fn fnv1a64(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The upper 24 bits of the `i`th output of splitmix64, as a number in 0..1.
fn unit(seed: u64, i: u64) -> f64 {
    let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f64 / 16_777_216.0
}

/// A checkpoint that has every tensor.
pub struct Formula;

impl SimpleBackend for Formula {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        Tensor::from_vec(weights(name, shape.dims()), shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("the shape of {name} is unknown")
    }

    /// Of the attention's tensors, only those with the current names exist.
    fn contains_tensor(&self, name: &str) -> bool {
        !["query", "key", "value", "proj_attn"].iter().any(|old| name.contains(&format!(".{old}.")))
    }
}

/// Returns the weights from the formula as a `VarBuilder`, which the model reads.
pub fn var_builder() -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Formula), DType::F32, Device::Cpu)
}

#[test]
fn the_formula_gives_the_same_weights_as_in_python() {
    assert_eq!(fnv1a64("encoder.conv_in.weight"), 0x3e23_f4d0_25eb_b279);
    let first = weights("encoder.conv_in.weight", &[128, 3, 3, 3]);
    assert_eq!(first[..2], [-0.036_010_265_f32, -0.104_127_68]);
    assert_eq!(weights("decoder.conv_norm_out.weight", &[128])[0], 0.951_952_1);
    assert_eq!(weights("quant_conv.bias", &[8])[7], 0.023_251_433);
}
