//! The self-test: the built-in model in this program and in candle-transformers.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use serde::Serialize;

use vae::checkpoint::built_in;
use vae::picture::{Background, Picture, SAMPLE_PNG};
use vae::statistics::Statistics;
use vae::stock::Stock;

use crate::cli::message::message;
use crate::cli::record::timed;

use super::devices::TestedDevice;

/// The largest difference that passes for rounding in f32, relative to the rms of the values. Two orders of summation
/// differ by about 1e-5; one wrong filter weight causes a difference of 1e-2 and more.
pub const BOUND: f64 = 1e-4;

/// Width and height of the test picture.
pub const SIZE: (usize, usize) = (192, 128);

#[derive(Serialize)]
pub struct SelfTest {
    pub device: String,
    pub passed: bool,
    /// Why the test did not finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(flatten)]
    pub outcome: Option<Outcome>,
}

#[derive(Serialize)]
pub struct Outcome {
    /// The largest difference of the latents, relative to their rms.
    pub encode_difference: f64,
    /// The same of the decoded picture.
    pub decode_difference: f64,
    pub bound: f64,
    /// Milliseconds to encode and decode, and to start a CUDA device.
    pub ms: f64,
    /// Milliseconds that candle-transformers takes.
    pub stock_ms: f64,
    /// See [`TestedDevice::convolutions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convolutions: Option<[usize; 3]>,
}

impl SelfTest {
    pub fn run(device: &TestedDevice) -> Self {
        let (outcome, error) = match compare(device) {
            Ok(outcome) => (Some(outcome), None),
            Err(e) => (None, Some(message(&e))),
        };
        let within = |o: &Outcome| o.encode_difference <= BOUND && o.decode_difference <= BOUND;
        let passed = outcome.as_ref().is_some_and(within);
        Self { device: device.name.clone(), passed, error, outcome }
    }
}

/// Encodes and decodes the sample picture with both implementations.
fn compare(device: &TestedDevice) -> Result<Outcome> {
    let checkpoint = built_in::open()?;
    let picture = Picture::from_bytes(SAMPLE_PNG, Background::WHITE)?.resize(SIZE.0, SIZE.1);
    let x = picture.to_tensor(&Device::Cpu)?;
    let (config, parameters) = (checkpoint.config(), checkpoint.parameters());
    let encoder = device.device.picture_encoder(config, parameters.clone())?;
    let decoder = device.device.latent_decoder(config, parameters)?;
    let stock = Stock::new(config, Box::new(checkpoint.weights().clone()), &Device::Cpu)?;
    let (mut ms, mut stock_ms) = (None, None);
    let (mean, decoded) = timed(&mut ms, || -> Result<_> {
        let mean = encoder.encode(&x)?.mean().clone();
        Ok((mean.clone(), decoder.decode(&mean)?))
    })?;
    let (stock_mean, stock_decoded) = timed(&mut stock_ms, || -> Result<_> {
        let mean = stock.mean(&x)?;
        Ok((mean.clone(), stock.decode(&mean)?))
    })?;
    Ok(Outcome {
        encode_difference: difference(&mean, &stock_mean)?,
        decode_difference: difference(&decoded, &stock_decoded)?,
        bound: BOUND,
        ms: ms.unwrap_or_default(),
        stock_ms: stock_ms.unwrap_or_default(),
        convolutions: device.convolutions(),
    })
}

/// Returns the largest absolute difference, relative to the rms of `wanted`, or infinity if a value is not finite.
fn difference(got: &Tensor, wanted: &Tensor) -> Result<f64> {
    if got.dims() != wanted.dims() {
        bail!("the shape is {:?} instead of {:?}", got.dims(), wanted.dims());
    }
    let values = |tensor: &Tensor| tensor.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>();
    let (got, wanted) = (values(got)?, values(wanted)?);
    if got.iter().chain(&wanted).any(|x| !x.is_finite()) {
        return Ok(f64::INFINITY);
    }
    let largest = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    Ok(f64::from(largest) / Statistics::of(&wanted).rms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_exceeds_the_bound() {
        let tensor = |values: [f32; 4]| Tensor::new(&values, &Device::Cpu).expect("four values");
        let right = tensor([1.0, -1.0, 1.0, -1.0]);
        assert_eq!(difference(&right, &right).expect("a number"), 0.0);
        let off = difference(&tensor([1.0, -1.0, 1.0, -1.01]), &right).expect("a number");
        assert!((off - 0.01).abs() < 1e-6 && off > BOUND, "{off}");
        assert_eq!(difference(&tensor([f32::NAN; 4]), &right).expect("a number"), f64::INFINITY);
        assert!(difference(&right, &right.narrow(0, 0, 2).expect("two values")).is_err());
    }
}
