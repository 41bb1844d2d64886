//! How alike two pictures are.

use crate::picture::Picture;

/// Peak signal-to-noise ratio in dB over all samples of two pictures of one size, rounded to bytes:
/// `10 · log10(255² / mean((a − b)²))`; infinite where they are equal.
///
/// What scikit-image's `peak_signal_noise_ratio(a, b, data_range=255)` computes.
///
/// # Panics
/// If the sizes differ.
pub fn psnr(a: &Picture, b: &Picture) -> f64 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()), "PSNR compares pictures of one size");
    let (a, b) = (a.to_rgb8(), b.to_rgb8());
    let squares: f64 = a.iter().zip(&b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    let mean = squares / a.len() as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}
