//! The scaling of latents: diffusion models work on latents whose variance is about 1.

use candle_core::{Result, Tensor};

/// How latents are scaled for diffusion models: `(patches(z) − shift − mean) · factor / std`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// The side of the squares of latent pixels that become channels: 2 for FLUX.2, else 1.
    pub patch: usize,
    /// `scaling_factor`: makes the variance about 1.
    pub factor: f64,
    /// `shift_factor`: the mean of all channels; 0 for SD2.
    pub shift: f64,
    /// Statistics of each channel, for models that have them: Playground, Qwen-Image, FLUX.2.
    pub statistics: Option<ChannelStatistics>,
}

/// Mean and standard deviation of each channel, after patches have become channels.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelStatistics {
    /// `latents_mean`, or `bn.running_mean` of FLUX.2.
    pub mean: Vec<f64>,
    /// `latents_std`, or `√(bn.running_var + eps)` of FLUX.2.
    pub std: Vec<f64>,
}

impl Scaling {
    /// Epsilon of FLUX.2's batch norm (`batch_norm_eps` in its config).
    pub const FLUX2_EPS: f64 = 1e-4;

    /// `(z − shift) · factor`
    pub const fn new(factor: f64, shift: f64) -> Self {
        Self { patch: 1, factor, shift, statistics: None }
    }

    /// FLUX.2's: patches of 2 × 2, then the batch norm with these `running_mean` and `running_var`, each `[4c]`.
    ///
    /// diffusers computes `(x − mean)/√(var + eps)` in f32 (`pipelines/flux2/pipeline_flux2.py`).
    pub fn flux2(running_mean: &[f32], running_var: &[f32]) -> Self {
        let mean = running_mean.iter().map(|&mean| f64::from(mean)).collect();
        let std = running_var.iter().map(|&var| f64::from((var + Self::FLUX2_EPS as f32).sqrt())).collect();
        Self { patch: 2, factor: 1.0, shift: 0.0, statistics: Some(ChannelStatistics { mean, std }) }
    }

    /// Channels of the scaled latents of z with `channels` channels.
    pub fn channels(&self, channels: usize) -> usize {
        channels * self.patch * self.patch
    }

    /// Scales z `[n, c, h, w]` for diffusion models. The result has the same shape, or `[n, 4c, h/2, w/2]` for FLUX.2.
    ///
    /// # Errors
    /// If the sides are no multiples of the patches, or the channels are not those of the statistics.
    pub fn scale(&self, z: &Tensor) -> Result<Tensor> {
        let x = (patches(z, self.patch)? - self.shift)?;
        let Some(statistics) = &self.statistics else { return x * self.factor };
        let [mean, std] = statistics.tensors(&x)?;
        (x.broadcast_sub(&mean)? * self.factor)?.broadcast_div(&std)
    }

    /// The inverse of [`Scaling::scale`]: `latents · std / factor + mean + shift`, and pixels from patches.
    ///
    /// Divides each value by the factor in the latents' number format, as torch does. A product with the reciprocal, which
    /// `latents / factor` is in candle, can differ in the last bit.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        let factor = Tensor::new(self.factor, latents.device())?.to_dtype(latents.dtype())?;
        let x = match &self.statistics {
            None => latents.broadcast_div(&factor)?,
            Some(statistics) => {
                let [mean, std] = statistics.tensors(latents)?;
                latents.broadcast_mul(&std)?.broadcast_div(&factor)?.broadcast_add(&mean)?
            }
        };
        pixels(&(x + self.shift)?, self.patch)
    }
}

impl ChannelStatistics {
    /// Mean and standard deviation, `[1, c, 1, 1]`, for latents with c channels.
    fn tensors(&self, latents: &Tensor) -> Result<[Tensor; 2]> {
        let (_, channels, _, _) = latents.dims4()?;
        if channels != self.mean.len() {
            candle_core::bail!("latents with {channels} channels, but statistics of {}", self.mean.len());
        }
        let tensor = |values: &[f64]| {
            let tensor = Tensor::new(values, latents.device())?.to_dtype(latents.dtype())?;
            tensor.reshape((1, channels, 1, 1))
        };
        Ok([tensor(&self.mean)?, tensor(&self.std)?])
    }
}

/// `[n, c, h, w]` → `[n, c·p², h/p, w/p]`: channel `c·p² + row·p + column`
/// (`_patchify_latents` in `diffusers/pipelines/flux2/pipeline_flux2.py`).
fn patches(z: &Tensor, p: usize) -> Result<Tensor> {
    if p == 1 {
        return Ok(z.clone());
    }
    let (n, c, h, w) = z.dims4()?;
    if !h.is_multiple_of(p) || !w.is_multiple_of(p) {
        candle_core::bail!("latents of {h} × {w} pixels cannot be divided into patches of {p} × {p}");
    }
    z.reshape((n, c, h / p, p, w / p, p))?.permute([0, 1, 3, 5, 2, 4])?.reshape((n, c * p * p, h / p, w / p))
}

/// The inverse of [`patches`].
fn pixels(x: &Tensor, p: usize) -> Result<Tensor> {
    if p == 1 {
        return Ok(x.clone());
    }
    let (n, c, h, w) = x.dims4()?;
    if !c.is_multiple_of(p * p) {
        candle_core::bail!("{c} channels cannot be divided into patches of {p} × {p}");
    }
    let c = c / (p * p);
    x.reshape((n, c, p, p, h, w))?.permute([0, 1, 4, 2, 5, 3])?.reshape((n, c, h * p, w * p))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn numbers(tensor: Result<Tensor>) -> Vec<f32> {
        tensor.and_then(|t| t.flatten_all()?.to_vec1::<f32>()).expect("f32")
    }

    #[test]
    fn unscaling_divides_and_scaling_multiplies_as_torch_does() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let tensor = Tensor::from_slice(&values, (1, 4, 25, 10), &Device::Cpu).expect("values");
        let (factor, shift) = (0.3611, 0.1159);
        let scaling = Scaling::new(factor, shift);
        let divided: Vec<f32> = values.iter().map(|x| x / factor as f32 + shift as f32).collect();
        assert_eq!(numbers(scaling.unscale(&tensor)), divided);
        let scaled: Vec<f32> = values.iter().map(|x| (x - shift as f32) * factor as f32).collect();
        assert_eq!(numbers(scaling.scale(&tensor)), scaled);
        assert!(values.iter().any(|x| x / 0.18215 != x * (1.0 / 0.18215)), "the two differ");
    }

    #[test]
    fn a_patch_becomes_the_channels_of_one_pixel() {
        let z =
            Tensor::arange(0f32, 48.0, &Device::Cpu).and_then(|z| z.reshape((1, 2, 4, 6))).expect("a tensor");
        let x = patches(&z, 2).expect("even sides");
        assert_eq!(x.dims(), [1, 8, 2, 3]);
        let first: Vec<f32> = numbers(x.narrow(2, 1, 1).and_then(|x| x.narrow(3, 2, 1)));
        assert_eq!(first, [16.0, 17.0, 22.0, 23.0, 40.0, 41.0, 46.0, 47.0]);
        assert_eq!(numbers(pixels(&x, 2)), numbers(Ok(z.clone())));
        assert!(patches(&z, 4).is_err() && pixels(&z, 2).is_err());
    }

    #[test]
    fn statistics_apply_to_each_channel_and_can_be_undone() {
        let z =
            Tensor::arange(0f32, 16.0, &Device::Cpu).and_then(|z| z.reshape((1, 1, 4, 4))).expect("a tensor");
        let scaling = Scaling::flux2(&[1.0, 2.0, 3.0, 4.0], &[4.0, 9.0, 16.0, 25.0]);
        let scaled = scaling.scale(&z).expect("four channels");
        let std = |var: f32| (var + 1e-4f32).sqrt();
        assert_eq!(scaled.dims(), [1, 4, 2, 2]);
        assert_eq!(numbers(scaled.narrow(1, 3, 1))[0], (5.0 - 4.0) / std(25.0));
        let back = numbers(scaling.unscale(&scaled));
        assert!(back.iter().zip(0u8..).all(|(x, i)| (x - f32::from(i)).abs() < 1e-5), "{back:?}");
        assert!(Scaling::flux2(&[0.0; 3], &[1.0; 3]).scale(&z).is_err());
    }
}
