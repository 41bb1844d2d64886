//! The diagonal Gaussian that the encoder computes for a picture
//! (`DiagonalGaussianDistribution` in `diffusers/models/autoencoders/vae.py`).

use candle_core::{Result, Tensor};

/// The distribution of a picture's latents: an independent Gaussian for each value.
#[derive(Debug, Clone)]
pub struct Posterior {
    mean: Tensor,   // [n, 4, h/8, w/8]
    logvar: Tensor, // [n, 4, h/8, w/8]
}

impl Posterior {
    /// Splits moments `[n, 8, h/8, w/8]` into mean and log-variance, the latter clamped to −30..20.
    pub fn new(moments: &Tensor) -> Result<Self> {
        let channels = moments.dim(1)? / 2;
        let mean = moments.narrow(1, 0, channels)?.contiguous()?;
        let logvar = moments.narrow(1, channels, channels)?.contiguous()?.clamp(-30f64, 20f64)?;
        Ok(Self { mean, logvar })
    }

    /// The distribution of which only one value has a probability: that of a model that has no moments.
    pub fn certain(mean: Tensor) -> Result<Self> {
        let logvar = (mean.zeros_like()? + f64::NEG_INFINITY)?;
        Ok(Self { mean, logvar })
    }

    /// The mean, `[n, 4, h/8, w/8]`.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// The natural logarithm of the variance, in −30..20; −∞ if there is none.
    pub fn logvar(&self) -> &Tensor {
        &self.logvar
    }

    /// The standard deviation, `exp(0.5 · logvar)`.
    pub fn std(&self) -> Result<Tensor> {
        (&self.logvar * 0.5)?.exp()
    }

    /// `mean + std · noise`, with standard normal noise of the mean's shape.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        &self.mean + (self.std()? * noise)?
    }
}
