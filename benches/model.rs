//! Compares the whole SD2 model with candle-transformers' stock model: seconds to encode and to decode one picture. And the
//! decoder of TAESD with that of SD2.
//!
//! `cargo bench --bench model -- [SIDE] [taesd]`, 256 pixels by default; with `taesd` only the second comparison. Weights come
//! from the formula of the tests. The two alternate, each three times, and the shortest time counts.

#[path = "../tests/suite/support/formula.rs"]
mod formula;

use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};

use vae::device::Cpu;
use vae::model::{AutoencoderKl, Config, DecodeLatents, latent_decoder};

const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKL",
  "block_out_channels": [128, 256, 512, 512],
  "layers_per_block": 2
}"#;

const TAESD: &str = r#"{"_class_name": "AutoencoderTiny"}"#;

fn main() -> Result<()> {
    let only_taesd = std::env::args().any(|a| a == "taesd");
    let side = std::env::args().skip(1).find_map(|a| a.parse::<usize>().ok()).unwrap_or(256);
    let config = Config::from_json(CONFIG).map_err(candle_core::Error::wrap)?;
    let cpu = Cpu::new().map_err(candle_core::Error::wrap)?;
    let ours = AutoencoderKl::new(&cpu, &config, formula::var_builder())?;
    let z = Tensor::randn(0f32, 1.0, (1, 4, side / 8, side / 8), &Device::Cpu)?;
    let taesd = Config::from_json(TAESD).map_err(candle_core::Error::wrap)?;
    let taesd = latent_decoder(&cpu, &taesd, formula::var_builder())?;
    println!("{side}×{side}, {cpu:?}, seconds: taesd, sd2, ratio");
    compare("decode", || taesd.decode(&z).map(drop), || ours.decoder.decode(&z).map(drop))?;
    if only_taesd {
        return Ok(());
    }

    let kl = config.kl().expect("an AutoencoderKL");
    let stock_config = AutoEncoderKLConfig {
        block_out_channels: kl.block_out_channels.clone(),
        layers_per_block: kl.layers_per_block,
        ..AutoEncoderKLConfig::default()
    };
    let stock = AutoEncoderKL::new(formula::var_builder(), 3, 3, stock_config)?;
    let x = Tensor::randn(0f32, 0.5, (1, 3, side, side), &Device::Cpu)?;
    println!("{side}×{side}, {cpu:?}, seconds: vae, stock candle, ratio");
    compare("encode", || ours.encode(&x).map(drop), || stock.encode(&x).map(drop))?;
    compare("decode", || ours.decoder.decode(&z).map(drop), || stock.decode(&z).map(drop))
}

fn compare(what: &str, first: impl Fn() -> Result<()>, second: impl Fn() -> Result<()>) -> Result<()> {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..3 {
        best[0] = best[0].min(seconds(&first)?);
        best[1] = best[1].min(seconds(&second)?);
    }
    println!("{what}  {:.3}  {:.3}  {:.3}", best[0], best[1], best[0] / best[1]);
    Ok(())
}

fn seconds(work: impl Fn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}
