//! The other VAEs of the family, compared stage by stage with diffusers (`tests/golden/family.py`), at every SIMD level of this
//! machine.

use candle_core::{Device, Result, Tensor};

use vae::device::{Backend, Cpu, Level};
use vae::latents::{Draw, Latents};
use vae::model::{AutoencoderKl, Config, DecodeLatents, EncodePictures, Kl, Network, Scaling};
use vae::picture::Picture;

use crate::support::formula;
use crate::support::golden::{Golden, differing, relative_error, values};
use crate::support::model_folder::{self, CONFIG, Folder};
use crate::support::process::{read_picture, vae_with_model, write_png};

#[test]
fn sd1() -> Result<()> {
    let config = agrees_with_diffusers("sd1")?;
    assert_eq!(config.scaling, Some(Scaling::new(0.18215, 0.0)), "the default of diffusers");
    Ok(())
}

#[test]
fn sdxl() -> Result<()> {
    let config = agrees_with_diffusers("sdxl")?;
    assert!(config.force_upcast && config.scaling == Some(Scaling::new(0.13025, 0.0)));
    Ok(())
}

#[test]
fn sd3() -> Result<()> {
    let config = agrees_with_diffusers("sd3")?;
    assert_eq!(config.scaling, Some(Scaling::new(1.5305, 0.0609)));
    Ok(())
}

#[test]
fn flux1() -> Result<()> {
    let config = agrees_with_diffusers("flux1")?;
    assert!(config.kl().is_some_and(|kl| !kl.use_quant_conv && !kl.use_post_quant_conv));
    Ok(())
}

#[test]
fn playground_has_statistics_of_each_channel() -> Result<()> {
    let config = agrees_with_diffusers("playground")?;
    let statistics = config.scaling.and_then(|scaling| scaling.statistics);
    assert!(statistics.is_some_and(|statistics| statistics.mean[2] == -1.383));
    Ok(())
}

#[test]
fn the_upscaler_has_three_levels() -> Result<()> {
    assert_eq!(agrees_with_diffusers("x4_upscaler")?.downscale(), 4);
    Ok(())
}

#[test]
fn kl_f4_has_three_latent_channels() -> Result<()> {
    let config = agrees_with_diffusers("kl_f4")?;
    assert_eq!((config.downscale(), config.latent_channels), (4, 3));
    Ok(())
}

#[test]
fn kl_f16_has_attention_in_a_level_and_narrower_latents() -> Result<()> {
    let config = agrees_with_diffusers("kl_f16")?;
    let kl = config.kl().expect("an AutoencoderKL");
    assert_eq!(kl.attention_levels, [false, false, false, false, true]);
    assert_eq!((config.downscale(), config.latent_channels, kl.inner_channels), (16, 8, Some(16)));
    Ok(())
}

#[test]
fn flux2_has_patches_and_a_decoder_of_other_widths() -> Result<()> {
    let config = agrees_with_diffusers("flux2")?;
    assert!(config.draws_mean());
    assert_eq!((config.downscale(), config.multiple()), (8, 16));
    assert_eq!(config.kl().map(Kl::decoder_channels), Some([32, 32, 64, 96].as_slice()));
    Ok(())
}

#[test]
fn latents_of_flux2_are_patches_in_the_file() {
    let config = CONFIG
        .replace("AutoencoderKL", "AutoencoderKLFlux2")
        .replace("\"sample_size\"", "\"decoder_block_out_channels\": [4, 8, 8, 12], \"sample_size\"");
    let mut tensors = model_folder::tensors_of(&config);
    let vector = |values: &[f32]| Tensor::new(values, &Device::Cpu).expect("values");
    tensors.insert("bn.running_mean".into(), vector(&[0.5; 16]));
    tensors.insert("bn.running_var".into(), vector(&[4.0; 16]));
    let folder = Folder::new();
    model_folder::write_with(&folder.path("model"), &config, &tensors);
    write_png(&folder.path("img.png"), 80, 48);

    vae_with_model(&folder, "encode img.png -o l.safetensors --multiple 8").code(2).says(&["multiple of 16"]);
    vae_with_model(&folder, "encode img.png -o l.safetensors --multiple 16").code(0);
    vae_with_model(&folder, "encode img.png -o other-seed.safetensors --multiple 16 --seed 7").code(0);
    let file = |name: &str| std::fs::read(folder.path(name)).expect("a file");
    let latents = Latents::from_safetensors(&file("l.safetensors")).expect("latents");
    assert_eq!(latents.tensor.dims(), [1, 16, 3, 5]);
    assert_eq!(latents.provenance.draw, Some(Draw::Mean), "FLUX.2 takes the mean");
    let other = Latents::from_safetensors(&file("other-seed.safetensors")).expect("latents");
    assert_eq!(values(&latents.tensor), values(&other.tensor));

    vae_with_model(&folder, "decode l.safetensors -o out.png").code(0);
    vae_with_model(&folder, "roundtrip img.png -o same.png --multiple 16").code(0);
    let pixels = |name: &str| read_picture(&folder, name).to_rgb8();
    assert_eq!(pixels("out.png"), pixels("same.png"));
    assert_eq!(read_picture(&folder, "out.png").width(), 80);

    // Unscaled latents are z, which has a quarter of the channels.
    let scaling = latents.provenance.scaling.clone().expect("its metadata states the scaling");
    let z = scaling.unscale(&latents.tensor).expect("unscales");
    assert_eq!(z.dims(), [1, 4, 6, 10]);
    candle_core::safetensors::save(&[("latents", z)].into(), folder.path("z.safetensors")).expect("a file");
    vae_with_model(&folder, "decode z.safetensors -o z.png --unscaled").code(0);
    assert_eq!(pixels("out.png"), pixels("z.png"));
    vae_with_model(&folder, "decode z.safetensors -o wrong.png").code(1).says(&["4 channels", "decodes 16"]);
}

/// Compares every stage at every level of the CPU; returns the config.
fn agrees_with_diffusers(name: &str) -> Result<Config> {
    let golden = Golden::open(&format!("family/{name}.safetensors"));
    let config = config(&golden);
    for level in Level::all() {
        agrees_on(&Cpu::at(level), name, &golden, &config)?;
    }
    Ok(config)
}

/// Returns diffusers' config, with what the file has beside it.
fn config(golden: &Golden) -> Config {
    let mut config = Config::from_json(golden.text("config")).expect("diffusers' config is valid");
    let Network::Kl(kl) = &mut config.network else { panic!("an AutoencoderKL") };
    if let Ok(channels) = golden.text("embed").parse() {
        kl.inner_channels = Some(std::mem::replace(&mut config.latent_channels, channels));
        (kl.use_quant_conv, kl.use_post_quant_conv) = (true, true);
    }
    if config.scaling.is_none() {
        let [mean, var] = ["running_mean", "running_var"].map(|name| golden.values(name));
        config.scaling = Some(Scaling::flux2(&mean, &var));
    }
    config
}

fn agrees_on<B: Backend>(backend: &B, name: &str, golden: &Golden, config: &Config) -> Result<()> {
    let vae = AutoencoderKl::new(backend, config, formula::var_builder())?;
    let agrees = |stage: &str, got: &Tensor| {
        let error = relative_error(got, golden.tensor(stage));
        println!("{name}, {backend:?}, {stage}: relative error {error:.2e}");
        assert!(error < 3e-5, "{name}, {backend:?}, {stage}: relative error {error:.2e}");
    };
    let h = vae.encoder.h(golden.tensor("x"), &mut ())?;
    agrees("h", &h);
    let moments = vae.encoder.moments(&h)?;
    agrees("moments", &moments);
    let posterior = vae.encoder.posterior(&moments)?;
    let z = match config.draws_mean() {
        true => posterior.mean().clone(),
        false => posterior.sample(golden.tensor("noise"))?,
    };
    agrees("latents", &config.scale(&z)?);
    let z = vae.decoder.z(&config.unscale(golden.tensor("latents"))?)?;
    agrees("z", &z);
    let dec = vae.decoder.dec(&z, &mut ())?;
    agrees("dec", &dec);
    let got = Picture::from_tensor(&dec.get(0)?).expect("numbers").to_rgb8();
    let (share, most) = differing(&got, &golden.bytes("picture_u8"), 0);
    println!("{name}, {backend:?}: {:.4} % of the picture's values differ, by up to {most}", 100.0 * share);
    assert!(share < 1e-3 && most <= 1, "{name}: {share} of the values differ, by up to {most}");
    Ok(())
}
