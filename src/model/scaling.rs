//! The scaling of latents: diffusion models work on latents whose variance is about 1.

use candle_core::{Result, Tensor};

use super::Config;

impl Config {
    /// Scales the VAE's latents for diffusion models: `(z − shift) · scaling_factor`.
    pub fn scale(&self, z: &Tensor) -> Result<Tensor> {
        (z - self.shift_factor.unwrap_or(0.0))? * self.scaling_factor
    }

    /// The inverse of [`Config::scale`]: `latents / scaling_factor + shift`.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        unscale(latents, self.scaling_factor, self.shift_factor.unwrap_or(0.0))
    }
}

/// `latents / scaling_factor + shift`, for latents whose file states the factor that was applied.
///
/// Divides each value by the factor in the latents' number format, as torch does. A product with the reciprocal, which
/// `latents / scaling_factor` is in candle, can differ in the last bit.
pub fn unscale(latents: &Tensor, scaling_factor: f64, shift: f64) -> Result<Tensor> {
    let factor = Tensor::new(scaling_factor, latents.device())?.to_dtype(latents.dtype())?;
    latents.broadcast_div(&factor)? + shift
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn unscaling_divides_and_scaling_multiplies_as_torch_does() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let tensor = Tensor::new(values.as_slice(), &Device::Cpu).expect("values");
        let numbers = |tensor: Result<Tensor>| tensor.and_then(|t| t.to_vec1::<f32>()).expect("f32");
        let (factor, shift) = (0.3611, 0.1159);
        let divided: Vec<f32> = values.iter().map(|x| x / factor as f32 + shift as f32).collect();
        assert_eq!(numbers(unscale(&tensor, factor, shift)), divided);
        let json = r#"{"_class_name": "AutoencoderKL", "scaling_factor": 0.3611, "shift_factor": 0.1159}"#;
        let config = Config::from_json(json).expect("a config");
        let scaled: Vec<f32> = values.iter().map(|x| (x - shift as f32) * factor as f32).collect();
        assert_eq!(numbers(config.scale(&tensor)), scaled);
        assert!(values.iter().any(|x| x / 0.18215 != x * (1.0 / 0.18215)), "the two differ");
    }
}
