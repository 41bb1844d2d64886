//! What the halves of all networks share: the checks of their input, and the loop over the pictures of a batch.

use candle_core::{Device, Result, Tensor};

use crate::kernels::{Backend, FeatureMap, Shape, Workspace};

use super::{Config, RGB};

/// Fails unless `x` can be encoded: pixels `[n, 3, h, w]`, at least as many as become one of the latents.
pub fn check_pixels(x: &Tensor, config: &Config) -> Result<()> {
    let (_, channels, height, width) = x.dims4()?;
    let least = config.downscale();
    if channels != RGB || height < least || width < least {
        candle_core::bail!(
            "the encoder's input must be [n, {RGB}, h, w] with sides of at least {least}, not {:?}",
            x.dims()
        );
    }
    Ok(())
}

/// Fails unless these are latents that can be decoded: `[n, 4, h/8, w/8]`.
pub fn check_latents(latents: &Tensor, config: &Config) -> Result<()> {
    let (_, channels, height, width) = latents.dims4()?;
    let c = config.latent_channels;
    if channels != c || height == 0 || width == 0 {
        candle_core::bail!("the decoder's input must be latents [n, {c}, h, w], not {:?}", latents.dims());
    }
    Ok(())
}

/// `[n, c, h, w]` → `[n, c', h', w']`, one picture at a time, so that a batch needs no more memory than one picture.
pub fn for_each_picture<B: Backend>(
    backend: &B,
    batch: &Tensor,
    mut forward: impl FnMut(B::Map, &mut Workspace<B>) -> Result<B::Map>,
) -> Result<Tensor> {
    let (n, channels, height, width) = batch.dims4()?;
    let shape = Shape::new(channels, height, width);
    let mut workspace = Workspace::checkout(backend);
    let mut results = Vec::with_capacity(n);
    for i in 0..n {
        let mut x = workspace.take(shape);
        backend.load(&batch.get(i)?.flatten_all()?.to_vec1::<f32>()?, shape, &mut x)?;
        let y = forward(x, &mut workspace)?;
        let Shape { channels, height, width } = y.shape();
        results.push(Tensor::from_vec(backend.fetch(&y)?, (1, channels, height, width), &Device::Cpu)?);
        workspace.give(y);
    }
    Tensor::cat(&results, 0)
}
