//! The self-check of a CUDA device: a small model of each network, both halves, against the CPU.
//!
//! The first use of a device by a build checks it in the precision that is used. The outcome is remembered in the user's cache
//! folder until the device, the driver, a library or the build changes.

use candle_core::{Result, Tensor};
use rayon::ThreadPoolBuilder;

use crate::kernels::cuda::{Cuda, CudaError};
use crate::kernels::{Backend, Cpu, Error, Level, Parameter, Precision};
use crate::model::{Config, Parameters, Tensors, latent_decoder, picture_encoder};

/// How far a device's results are from the CPU's, for small models with weights from a formula.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfCheck {
    /// The precision that was checked.
    pub precision: Precision,
    /// The rms of the difference relative to the rms of the CPU's values, of the moments or the picture of any model, whichever is
    /// largest; infinite if a value is not finite.
    pub difference: f64,
}

impl SelfCheck {
    /// Runs the check and remembers the outcome.
    ///
    /// # Errors
    /// If the device fails, for example for lack of memory. Then nothing is remembered.
    pub fn run(cuda: &Cuda) -> std::result::Result<Self, Error> {
        // A pool of its own, because the size of the global one can be chosen only before its first use.
        let pool = ThreadPoolBuilder::new().build().map_err(|e| Error::Device(Box::new(e)))?;
        let difference = match pool.install(|| compare(cuda)).map_err(Error::from_model) {
            Err(Error::NotFinite { .. }) => f64::INFINITY,
            difference => difference?,
        };
        cuda.remember(&topic(cuda.precision()), &format!("{difference:e}"));
        Ok(Self { precision: cuda.precision(), difference })
    }

    /// The outcome that this build remembers for this device.
    pub fn remembered(cuda: &Cuda) -> Option<Self> {
        let precision = cuda.precision();
        let difference = cuda.recall(&topic(precision))?.parse().ok()?;
        Some(Self { precision, difference })
    }

    /// The largest difference that passes: several times what rounding causes, and far less than one wrong layer does.
    pub fn bound(&self) -> f64 {
        match self.precision {
            Precision::F32 => 1e-4,
            Precision::F16 => 2e-2,
            Precision::Bf16 => 1e-1,
        }
    }

    /// Whether the device passed.
    pub fn passed(&self) -> bool {
        self.difference <= self.bound()
    }

    /// Fails unless the device passed, now or in an earlier run.
    pub(super) fn require(cuda: &Cuda) -> std::result::Result<(), Error> {
        let check = Self::remembered(cuda).map_or_else(|| Self::run(cuda), Ok)?;
        match check.passed() {
            true => Ok(()),
            false => Err(CudaError::SelfCheck {
                device: cuda.index(),
                precision: check.precision,
                difference: check.difference,
                bound: check.bound(),
            }
            .into()),
        }
    }
}

fn topic(precision: Precision) -> String {
    format!("self-check in {precision}")
}

/// Together they have all kinds of layers.
const CONFIGS: [&str; 3] = [
    r#"{"_class_name": "AutoencoderKL", "block_out_channels": [32, 64, 64], "norm_num_groups": 8}"#,
    r#"{"_class_name": "AutoencoderKLWan", "base_dim": 16, "dim_mult": [1, 2, 3], "num_res_blocks": 1}"#,
    r#"{"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [24, 24], "num_encoder_blocks": [1, 1],
        "decoder_block_out_channels": [24, 24], "num_decoder_blocks": [1, 1]}"#,
];

/// Computes both halves of all models on the device and on the CPU. NaN counts as the largest difference.
fn compare(cuda: &Cuda) -> Result<f64> {
    let mut largest = 0.0;
    for config in CONFIGS {
        let found = compare_model(cuda, config)?;
        largest = if found.is_nan() || found > largest { found } else { largest };
    }
    Ok(largest)
}

/// Computes both halves of one model.
fn compare_model(cuda: &Cuda, config: &str) -> Result<f64> {
    // Attention over 192 positions: more than one tile of the kernels, and not a multiple of it.
    let (height, width) = (48, 64);
    let config = Config::from_json(config).map_err(candle_core::Error::wrap)?;
    let input = |channels: usize, height: usize, width: usize| {
        let shape = [1, channels, height, width];
        Tensor::from_vec(values(channels, &shape), &shape, &candle_core::Device::Cpu)
    };
    let x = input(3, height, width)?;
    let step = config.downscale();
    let latents = input(config.latent_channels, height / step, width / step)?;
    let [here, wanted] =
        [results(cuda, &config, &x, &latents)?, results(&Cpu::at(Level::detect()), &config, &x, &latents)?];
    let [moments, picture] = [0, 1].map(|i| difference(&here[i], &wanted[i]));
    Ok(moments?.max(picture?))
}

/// The moments of a picture, and the picture of some latents.
fn results<B: Backend>(backend: &B, config: &Config, x: &Tensor, latents: &Tensor) -> Result<[Tensor; 2]> {
    let encoder = picture_encoder(backend, config, Parameters::new(Formula))?;
    let decoder = latent_decoder(backend, config, Parameters::new(Formula))?;
    Ok([encoder.moments(&encoder.h(x, &mut ())?)?, decoder.decode(latents)?])
}

fn difference(here: &Tensor, wanted: &Tensor) -> Result<f64> {
    let [here, wanted] = [here, wanted].map(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
    let (here, wanted) = (here?, wanted?);
    let square = |x: f32| f64::from(x).powi(2);
    let apart: f64 = here.iter().zip(&wanted).map(|(a, b)| square(a - b)).sum();
    let all: f64 = wanted.iter().map(|&b| square(b)).sum();
    Ok((apart / all).sqrt())
}

/// A checkpoint whose weights keep the scale of activations near 1.
struct Formula;

impl Tensors for Formula {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        let fan_in: usize = shape[1..].iter().product();
        let (mean, spread) = match shape.len() {
            1 if name.ends_with(".weight") => (1.0, 0.1),
            1 => (0.0, 0.1),
            _ => (0.0, (3.0 / fan_in as f32).sqrt()),
        };
        let seed = name.bytes().fold(0, |seed, byte| 31 * seed % 0xffff_ffff + usize::from(byte));
        Ok(Parameter::owned(values(seed, shape).into_iter().map(|x| mean + spread * x).collect()))
    }

    /// Only the current names of the attention's tensors exist.
    fn contains(&self, name: &str) -> bool {
        !name.ends_with(".query.weight")
    }
}

/// Numbers from −1 to 1 that look random, by the finalizer of MurmurHash3.
fn values(seed: usize, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product::<usize>() as u32;
    let number = |i: u32| {
        let mut x = i.wrapping_mul(0x9e37_79b9) ^ seed as u32;
        x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        ((x ^ (x >> 16)) >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (1..=count).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_value_in_a_hundred_fails() {
        let values = values(7, &[10_000]);
        let wrong = values.iter().enumerate().map(|(i, x)| if i % 100 == 0 { x + 1.0 } else { *x });
        let tensor = |values: Vec<f32>| {
            Tensor::from_vec(values, 10_000, &candle_core::Device::Cpu).expect("10,000 values")
        };
        let (right, wrong) = (tensor(values.clone()), tensor(wrong.collect()));
        assert_eq!(difference(&right, &right).expect("a number"), 0.0);
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            let difference = difference(&wrong, &right).expect("a number");
            assert!(!SelfCheck { precision, difference }.passed(), "{precision}: {difference}");
            assert!(!SelfCheck { precision, difference: f64::NAN }.passed());
        }
        let rms = values.iter().map(|x| x * x).sum::<f32>() / 1e4;
        assert!((rms - 1.0 / 3.0).abs() < 0.01, "{rms}");
    }
}
