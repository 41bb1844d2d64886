//! The similarity of two pictures of equal size, computed from values rounded to bytes.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::picture::Picture;

/// Returns the peak signal-to-noise ratio in dB over all values, `10 · log10(255² / mean((a − b)²))`; infinite for
/// equal pictures. Equals scikit-image's `peak_signal_noise_ratio(a, b, data_range=255)`.
///
/// # Panics
/// If the sizes differ.
pub fn psnr(a: &Picture, b: &Picture) -> f64 {
    let (a, b) = bytes(a, b);
    let squares: f64 = a.iter().zip(b.iter()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    let mean = squares / a.len() as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}

/// The absolute difference of two pictures, in levels of 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The largest difference.
    pub max: u8,
    /// The mean difference.
    pub mean: f64,
}

/// Returns the absolute difference over all values.
///
/// # Panics
/// If the sizes differ.
pub fn difference(a: &Picture, b: &Picture) -> Difference {
    let (a, b) = bytes(a, b);
    let differences = || a.iter().zip(b.iter()).map(|(&a, &b)| a.abs_diff(b));
    let sum: u64 = differences().map(u64::from).sum();
    Difference { max: differences().max().unwrap_or(0), mean: sum as f64 / a.len() as f64 }
}

/// The side of the window that [`ssim`] moves over the pictures, in pixels.
pub const WINDOW: usize = 11;

/// The standard deviation of the window's Gaussian weights, in pixels.
const SIGMA: f64 = 1.5;

/// Returns the structural similarity (Wang et al. 2004): the mean over the channels and over all positions of an
/// 11×11 Gaussian window; 1 for equal pictures, `None` if a side is smaller than the window. Equals scikit-image's
/// `structural_similarity(a, b, gaussian_weights=True, use_sample_covariance=False, sigma=1.5, data_range=255,
/// channel_axis=2)`.
///
/// # Panics
/// If the sizes differ.
pub fn ssim(a: &Picture, b: &Picture) -> Option<f64> {
    let (width, height) = (a.width(), a.height());
    let (a, b) = bytes(a, b);
    if width < WINDOW || height < WINDOW {
        return None;
    }
    let weights = window();
    let (rows, columns) = (height - WINDOW + 1, width - WINDOW + 1);
    let stride = 3 * width;
    let row = |y: usize| -> f64 {
        let here = y * stride..(y + WINDOW) * stride;
        similarity_of_row(&a[here.clone()], &b[here], &weights)
    };
    let sums: Vec<f64> = (0..rows).into_par_iter().map(row).collect(); // in order, so that every run gives the same sum
    Some(sums.iter().sum::<f64>() / (rows * columns * 3) as f64)
}

/// Returns the values of two pictures as bytes.
fn bytes<'a>(a: &'a Picture, b: &'a Picture) -> (Cow<'a, [u8]>, Cow<'a, [u8]>) {
    assert_eq!(
        (a.width(), a.height()),
        (b.width(), b.height()),
        "only pictures of equal size can be compared"
    );
    (a.rgb8(), b.rgb8())
}

/// Returns Gaussian weights with the sum 1; the weights of the window are their products.
fn window() -> [f64; WINDOW] {
    let middle = (WINDOW / 2) as f64;
    let weights: [f64; WINDOW] =
        std::array::from_fn(|i| (-0.5 * ((i as f64 - middle) / SIGMA).powi(2)).exp());
    let sum: f64 = weights.iter().sum();
    weights.map(|w| w / sum)
}

/// Returns the sum of the similarities of all windows in 11 rows of RGB bytes. Sums down, then across.
fn similarity_of_row(a: &[u8], b: &[u8], weights: &[f64; WINDOW]) -> f64 {
    let stride = a.len() / WINDOW;
    let mut columns = vec![[0.0; 5]; stride]; // weighted sums of a, b, a², b², a·b
    for ((a, b), w) in a.chunks_exact(stride).zip(b.chunks_exact(stride)).zip(weights) {
        for ((sums, &a), &b) in columns.iter_mut().zip(a).zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            for (sum, x) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                *sum += w * x;
            }
        }
    }
    let similarity_at = |start: usize| {
        let mut moments = [0.0; 5];
        for (sums, w) in columns[start..].iter().step_by(3).zip(weights) {
            moments.iter_mut().zip(sums).for_each(|(m, sum)| *m += w * sum);
        }
        similarity(moments)
    };
    (0..stride - 3 * (WINDOW - 1)).map(similarity_at).sum()
}

/// Returns the similarity in one window from the weighted means of a, b, a², b² and a·b.
fn similarity([a, b, aa, bb, ab]: [f64; 5]) -> f64 {
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let (var_a, var_b, covariance) = (aa - a * a, bb - b * b, ab - a * b);
    (2.0 * a * b + C1) * (2.0 * covariance + C2) / ((a * a + b * b + C1) * (var_a + var_b + C2))
}
