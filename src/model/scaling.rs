//! The scaling of latents: diffusion models work on latents whose variance is about 1.

use candle_core::{Result, Tensor};

use super::Config;

impl Config {
    /// Scales the VAE's latents for diffusion models: `(z − shift) · scaling_factor`.
    pub fn scale(&self, z: &Tensor) -> Result<Tensor> {
        z.affine(self.scaling_factor, -self.shift_factor.unwrap_or(0.0) * self.scaling_factor)
    }

    /// The inverse of [`Config::scale`]: `latents / scaling_factor + shift`.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        unscale(latents, self.scaling_factor, self.shift_factor.unwrap_or(0.0))
    }
}

/// `latents / scaling_factor + shift`, for latents whose file states the factor that was applied.
pub fn unscale(latents: &Tensor, scaling_factor: f64, shift: f64) -> Result<Tensor> {
    latents.affine(1.0 / scaling_factor, shift)
}
