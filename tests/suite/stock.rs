//! A second opinion: candle-transformers' AutoEncoderKL with the same weights.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};
use vae::model::{AutoencoderKl, Config};

use crate::support::golden::relative_error;
use crate::support::model_folder;

#[test]
fn candle_transformers_agrees() -> Result<()> {
    let config = Config::from_json(model_folder::CONFIG).expect("a valid config");
    let tensors = model_folder::tensors();
    let ours =
        AutoencoderKl::new(&config, VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu))?;
    let stock_config = AutoEncoderKLConfig {
        block_out_channels: config.block_out_channels.clone(),
        layers_per_block: config.layers_per_block,
        latent_channels: config.latent_channels,
        norm_num_groups: config.norm_num_groups,
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    // Its posterior can only be sampled: without variance the sample is the mean.
    let mut sharp = tensors;
    let weight = sharp["quant_conv.weight"].narrow(0, 0, 4)?;
    let bias = sharp["quant_conv.bias"].narrow(0, 0, 4)?;
    let none = Tensor::zeros((4, 8, 1, 1), DType::F32, &Device::Cpu)?;
    let tiny = Tensor::full(-200f32, 4, &Device::Cpu)?;
    sharp.insert("quant_conv.weight".into(), Tensor::cat(&[weight, none], 0)?);
    sharp.insert("quant_conv.bias".into(), Tensor::cat(&[bias, tiny], 0)?);
    let stock =
        AutoEncoderKL::new(VarBuilder::from_tensors(sharp, DType::F32, &Device::Cpu), 3, 3, stock_config)?;

    // A batch of one: with larger ones its attention in 0.11.1 gives other values for the same picture.
    let x = Tensor::randn(0f32, 0.5, (1, 3, 48, 72), &Device::Cpu)?;
    let mean = ours.encode(&x)?.mean().clone();
    let error = relative_error(&mean, &stock.encode(&x)?.sample()?);
    assert!(error < 1e-5, "encode: {error:.2e}");
    let error = relative_error(&ours.decoder.decode(&mean)?, &stock.decode(&mean)?);
    assert!(error < 1e-5, "decode: {error:.2e}");
    Ok(())
}
