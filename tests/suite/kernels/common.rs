//! Shared by the kernels' tests: a random number generator and a measure of error.

/// xorshift64*: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A random number in `low..=high`.
    pub fn pick(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() >> 33) as usize % (high - low + 1)
    }

    /// Uniformly distributed numbers with mean 0 and variance 1.
    pub fn value(&mut self) -> f32 {
        ((self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0) * 3f32.sqrt()
    }

    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.value() * scale).collect()
    }
}

/// The root mean square of the difference, relative to that of the truth.
pub fn rms_error(got: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(got.len(), truth.len());
    let gap: f64 = got.iter().zip(truth).map(|(&g, t)| (f64::from(g) - t).powi(2)).sum();
    let size: f64 = truth.iter().map(|t| t * t).sum();
    (gap / size.max(1e-30)).sqrt()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}
