//! The random numbers of torch's CPU generator, and the tutorial's noise.
//!
//! A seed gives the same latents here as `generator=torch.Generator("cpu").manual_seed(seed)` does in Python.

use std::f32::consts::TAU;

use candle_core::{Device, Result, Tensor};
use rand_mt::Mt;

/// `torch.Generator("cpu")`: MT19937, whose 32-bit numbers are converted as torch does. A clone has the same state.
#[derive(Debug, Clone)]
pub struct Generator {
    draws: Mt,
    /// The second value of the last pair that [`Generator::normal`] computed, unless it has been returned.
    spare: Option<f64>,
}

impl Generator {
    /// `manual_seed(seed)`; as in torch, only the low 32 bits of the seed are used.
    pub fn new(seed: u64) -> Self {
        Self { draws: Mt::new(seed as u32), spare: None }
    }

    /// `torch.rand(len)`: uniform values in 0..1, each from the low 24 bits of one 32-bit number.
    pub fn rand(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.uniform()).collect()
    }

    /// `torch.randn(len)`: standard normal values, within 2.4e-7 of those that torch computes with AVX2.
    ///
    /// Fewer than 16 values are drawn one by one. Otherwise (`normal_fill` in torch's `DistributionTemplates.h`),
    /// uniform values are transformed in blocks of 16; if 16 does not divide `len`, the last 16 values are drawn again.
    pub fn randn(&mut self, len: usize) -> Vec<f32> {
        if len < 16 {
            return (0..len).map(|_| self.normal() as f32).collect();
        }
        let mut values = self.rand(len);
        values.chunks_exact_mut(16).for_each(box_muller);
        if !len.is_multiple_of(16) {
            let last = &mut values[len - 16..];
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        values
    }

    /// [`Generator::randn`] as a tensor.
    pub fn randn_tensor(&mut self, shape: &[usize], device: &Device) -> Result<Tensor> {
        Tensor::from_vec(self.randn(shape.iter().product()), shape, device)
    }

    fn uniform(&mut self) -> f32 {
        (self.draws.next_u32() & 0xff_ffff) as f32 / 16_777_216.0
    }

    /// One standard normal value (`normal_distribution` in torch's `DistributionsHelper.h`). The Box-Muller transform
    /// gives two values, of which the second is kept for the next call.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
        let (radius, angle) = ((-2.0 * (-u2).ln_1p()).sqrt(), std::f64::consts::TAU * u1);
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// A uniform value in 0..1 from the low 53 bits of two 32-bit numbers, of which the first is the high half.
    fn uniform_f64(&mut self) -> f64 {
        let (high, low) = (u64::from(self.draws.next_u32()), u64::from(self.draws.next_u32()));
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }
}

/// Transforms 16 uniform values into 16 normal ones in place; the first 8 give the radii, the others the angles.
fn box_muller(block: &mut [f32]) {
    for j in 0..8 {
        let radius = (-2.0 * (1.0 - block[j]).ln()).sqrt();
        let angle = TAU * block[j + 8];
        block[j] = radius * angle.cos();
        block[j + 8] = radius * angle.sin();
    }
}

/// The tutorial's `add_rand_noise`: `latents + (rand − 0.5) · mean(|latents|) · level`.
///
/// Draws the noise in the order of the dimensions (n, c, h, w). torch's `rand_like` follows the order in memory, which
/// differs if the encoder returned a batch as channels-last.
pub fn add_uniform_noise(latents: &Tensor, level: f64, generator: &mut Generator) -> Result<Tensor> {
    let rand = Tensor::from_vec(generator.rand(latents.elem_count()), latents.shape(), latents.device())?;
    let scale = f64::from(latents.abs()?.mean_all()?.to_scalar::<f32>()?);
    latents + ((rand - 0.5)? * (scale * level))?
}
