//! Every stage that the tutorial names, at every level of this machine, against tensors from diffusers
//! (`tests/golden/make.py`).

use candle_core::Result;
use vae::checkpoint::built_in;
use vae::kernels::{Level, SharedWorkspace};
use vae::model::{AutoencoderKl, Config, Parameters, Posterior};
use vae::noise::{Generator, add_uniform_noise};
use vae::picture::Picture;

use crate::support::formula;
use crate::support::golden::{Golden, differing, relative_error};

/// torch's own f32 results are up to 1.3e-5 from f64's.
const TOLERANCE: f64 = 3e-5;
/// Ours are nearer.
const TOLERANCE_TO_F64: f64 = 5e-6;

#[test]
fn sd2_on_a_wide_picture() -> Result<()> {
    stages_agree("sd2.safetensors")
}

#[test]
fn a_small_model_on_a_batch_of_three_with_odd_sides() -> Result<()> {
    stages_agree("small.safetensors")
}

#[test]
fn a_model_without_quant_conv_and_attention_but_with_a_shift() -> Result<()> {
    stages_agree("small_no_quant.safetensors")
}

#[test]
fn the_built_in_model_with_its_trained_weights() -> Result<()> {
    let checkpoint = built_in::open().expect("it is part of the program");
    stages_agree_with("tiny.safetensors", checkpoint.parameters())
}

fn stages_agree(file: &str) -> Result<()> {
    stages_agree_with(file, formula::var_builder().into())
}

fn stages_agree_with(file: &str, weights: Parameters) -> Result<()> {
    for level in Level::all() {
        stages_agree_at(level, file, weights.clone())?;
    }
    Ok(())
}

fn stages_agree_at(level: Level, file: &str, weights: Parameters) -> Result<()> {
    let golden = Golden::open(file);
    let config = Config::from_json(golden.text("config")).expect("diffusers' config is valid");
    let vae = AutoencoderKl::within(&SharedWorkspace::at(level), &config, weights)?;
    let file = format!("{file}, {},", level.name());
    let agrees = |stage: &str, got: &candle_core::Tensor| {
        let error = relative_error(got, golden.tensor(stage));
        println!("{file} {stage}: relative error {error:.2e}");
        let tolerance = if stage.ends_with("_f64") { TOLERANCE_TO_F64 } else { TOLERANCE };
        assert!(error < tolerance, "{file} {stage}: relative error {error:.2e}");
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
    let decoded = vae.decode(latents)?;
    agrees("dec", &decoded);
    agrees("dec_f64", &decoded);

    let wanted = golden.bytes("picture_u8");
    let mut got = Vec::new();
    for i in 0..decoded.dim(0)? {
        got.extend(Picture::from_tensor(&decoded.get(i)?).expect("numbers").to_rgb8());
    }
    let (off, most) = differing(&got, &wanted, 0);
    println!("{file} picture: {:.4} % of samples differ, by {most} at most", 100.0 * off);
    assert!(off < 1e-3 && most <= 1, "{file}: {off} of the samples differ, by up to {most} levels");
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
fn the_tutorials_noise() -> Result<()> {
    let golden = Golden::open("random.safetensors");
    let noised = add_uniform_noise(golden.tensor("noise_in"), 0.5, &mut Generator::new(42))?;
    let error = relative_error(&noised, golden.tensor("noise_out"));
    assert!(error < 1e-6, "{error:.2e}");
    Ok(())
}
