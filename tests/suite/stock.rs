//! Our model, compared with candle-transformers' AutoEncoderKL with the same weights.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use vae::device::Cpu;
use vae::model::{AutoencoderKl, Config, DecodeLatents};
use vae::stock::Stock;

use crate::support::formula::Formula;
use crate::support::golden::relative_error;
use crate::support::model_folder;

#[test]
fn the_model_agrees_with_candle_transformers() -> Result<()> {
    let config = Config::from_json(model_folder::CONFIG).expect("a valid config");
    let tensors = model_folder::tensors();
    let cpu = Cpu::new().expect("a level of this machine");
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let ours = AutoencoderKl::new(&cpu, &config, builder)?;
    let stock = Stock::new(&config, Box::new(Formula), &Device::Cpu)?;
    let x = Tensor::randn(0f32, 0.5, (1, 3, 48, 72), &Device::Cpu)?;
    let mean = ours.encode(&x)?.mean().clone();
    let error = relative_error(&mean, &stock.mean(&x)?);
    assert!(error < 1e-5, "encode: {error:.2e}");
    let error = relative_error(&ours.decoder.decode(&mean)?, &stock.decode(&mean)?);
    assert!(error < 1e-5, "decode: {error:.2e}");
    Ok(())
}
