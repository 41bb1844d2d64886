//! Every stage that the tutorial names, at every SIMD level of this machine, compared with tensors from diffusers
//! (`tests/golden/make.py`).

use candle_core::Result;

use vae::checkpoint::built_in;
use vae::device::{Backend, Cpu, Level};
use vae::model::{AutoencoderKl, Config, DecodeLatents, EncodePictures, Parameters, Posterior};
use vae::noise::{Generator, add_uniform_noise};
use vae::picture::Picture;

use crate::support::formula;
use crate::support::golden::{Golden, differing, relative_error};

/// The largest permitted differences from diffusers.
#[derive(Clone, Copy)]
struct Tolerance {
    /// The relative error of a stage, compared with diffusers in f32.
    stage: f64,
    /// The relative error of a stage, compared with diffusers in f64.
    stage_f64: f64,
    /// The share of the picture's values that may differ.
    differing: f64,
    /// The difference of a value of the picture, in levels of 0 to 255.
    levels: u8,
}

/// torch's own f32 results differ from its f64 results by up to 1.3e-5; ours differ less.
const F32: Tolerance = Tolerance { stage: 3e-5, stage_f64: 5e-6, differing: 1e-3, levels: 1 };
#[cfg(feature = "cuda")]
const F16: Tolerance = Tolerance { stage: 5e-3, stage_f64: 5e-3, differing: 0.5, levels: 4 };
#[cfg(feature = "cuda")]
const BF16: Tolerance = Tolerance { stage: 4e-2, stage_f64: 4e-2, differing: 1.0, levels: 32 };

#[test]
fn sd2_on_a_wide_picture() -> Result<()> {
    stages_agree("sd2.safetensors")
}

#[test]
fn a_small_model_on_a_batch_of_three_with_odd_sides() -> Result<()> {
    stages_agree("small.safetensors")
}

#[test]
fn a_model_with_a_shift_but_without_quant_conv_and_attention() -> Result<()> {
    stages_agree("small_no_quant.safetensors")
}

#[test]
fn the_built_in_model_with_its_trained_weights() -> Result<()> {
    let checkpoint = built_in::open().expect("the model is built in");
    stages_agree_with("tiny.safetensors", checkpoint.parameters())
}

fn stages_agree(file: &str) -> Result<()> {
    stages_agree_with(file, formula::var_builder().into())
}

fn stages_agree_with(file: &str, weights: Parameters) -> Result<()> {
    for level in Level::all() {
        stages_agree_on(&Cpu::at(level), F32, file, weights.clone())?;
    }
    Ok(())
}

fn stages_agree_on<B: Backend>(
    backend: &B,
    tolerance: Tolerance,
    file: &str,
    weights: Parameters,
) -> Result<()> {
    let golden = Golden::open(file);
    let config = Config::from_json(golden.text("config")).expect("diffusers' config is valid");
    let vae = AutoencoderKl::new(backend, &config, weights)?;
    let file = format!("{file}, {backend:?},");
    let agrees = |stage: &str, got: &candle_core::Tensor| {
        let error = relative_error(got, golden.tensor(stage));
        println!("{file} {stage}: relative error {error:.2e}");
        let bound = if stage.ends_with("_f64") { tolerance.stage_f64 } else { tolerance.stage };
        assert!(error < bound, "{file} {stage}: relative error {error:.2e}");
    };

    let h = vae.encoder.h(golden.tensor("x"), &mut ())?;
    agrees("h", &h);
    let moments = vae.encoder.moments(&h)?;
    agrees("moments", &moments);
    agrees("moments_f64", &moments);
    let posterior = Posterior::new(&moments)?;
    agrees("mean", posterior.mean());
    agrees("logvar", posterior.logvar());
    agrees("std", &posterior.std()?);
    let sample = posterior.sample(golden.tensor("noise"))?;
    agrees("sample", &sample);
    let latents = config.scale(&sample)?;
    agrees("latents", &latents);

    let latents = golden.tensor("latents");
    agrees("z", &vae.decoder.z(&config.unscale(latents)?)?);
    let decoded = vae.decode(&config.unscale(latents)?)?;
    agrees("dec", &decoded);
    agrees("dec_f64", &decoded);

    let wanted = golden.bytes("picture_u8");
    let mut got = Vec::new();
    for i in 0..decoded.dim(0)? {
        got.extend(Picture::from_tensor(&decoded.get(i)?).expect("numbers").to_rgb8());
    }
    let (share, max) = differing(&got, &wanted, 0);
    println!("{file} picture: {:.4} % of values differ, by up to {max}", 100.0 * share);
    assert!(share < tolerance.differing, "{file}: {share} of the values differ");
    assert!(max <= tolerance.levels, "{file}: values differ by up to {max} levels");
    Ok(())
}

#[test]
fn the_log_variance_is_clamped() -> Result<()> {
    let device = candle_core::Device::Cpu;
    let moments = candle_core::Tensor::new(&[[[[1f32]], [[-2.]], [[-99.]], [[99.]]]], &device)?; // [1, 4, 1, 1]
    let posterior = Posterior::new(&moments)?;
    assert_eq!(posterior.mean().flatten_all()?.to_vec1::<f32>()?, [1.0, -2.0]);
    assert_eq!(posterior.logvar().flatten_all()?.to_vec1::<f32>()?, [-30.0, 20.0]);
    Ok(())
}

#[test]
fn noise_agrees_with_the_tutorial() -> Result<()> {
    let golden = Golden::open("random.safetensors");
    let noised = add_uniform_noise(golden.tensor("noise_in"), 0.5, &mut Generator::new(42))?;
    let error = relative_error(&noised, golden.tensor("noise_out"));
    assert!(error < 1e-6, "{error:.2e}");
    Ok(())
}

#[cfg(feature = "cuda")]
mod cuda {
    use vae::device::{Error, Precision};

    use super::*;
    use crate::support::cuda::cuda;

    #[test]
    fn small_models_in_every_precision() -> Result<()> {
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::F16, F16), (Precision::Bf16, BF16)]
        {
            let Some(cuda) = cuda(precision) else { return Ok(()) };
            for file in ["small.safetensors", "small_no_quant.safetensors"] {
                stages_agree_on(&cuda, tolerance, file, formula::var_builder().into())?;
            }
        }
        Ok(())
    }

    #[test]
    fn sd2() -> Result<()> {
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::F16, F16)] {
            let Some(cuda) = cuda(precision) else { return Ok(()) };
            stages_agree_on(&cuda, tolerance, "sd2.safetensors", formula::var_builder().into())?;
        }
        Ok(())
    }

    /// The activations of the built-in model are too large for f16.
    #[test]
    fn the_built_in_model_in_every_precision_with_its_range() -> Result<()> {
        let checkpoint = built_in::open().expect("the model is built in");
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::Bf16, BF16)] {
            let Some(cuda) = cuda(precision) else { return Ok(()) };
            stages_agree_on(&cuda, tolerance, "tiny.safetensors", checkpoint.parameters())?;
        }
        let Some(cuda) = cuda(Precision::F16) else { return Ok(()) };
        let vae = AutoencoderKl::new(&cuda, checkpoint.config(), checkpoint.parameters())?;
        let golden = Golden::open("tiny.safetensors");
        let error =
            vae.decode(&checkpoint.config().unscale(golden.tensor("latents"))?).expect_err("f16 overflows");
        let found = Error::find(&error);
        assert!(matches!(found, Some(Error::NotFinite { precision: Precision::F16 })), "{error}");
        Ok(())
    }
}
