//! The difference of two pictures as a picture.

use crate::metrics::{self, Difference};
use crate::picture::Picture;

/// The absolute difference of two pictures, amplified so that it can be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct AmplifiedDifference {
    /// `|a − b| · factor`, clamped to 255.
    pub picture: Picture,
    /// The amplification: the largest of 1, 2, 5, 10, 20, 50 and 100 at which 95 % of the values are not clamped.
    pub factor: u8,
    /// The difference without amplification.
    pub difference: Difference,
}

/// The share of the values that must not be clamped.
const UNCLAMPED: f64 = 0.95;

impl AmplifiedDifference {
    /// Compares two pictures of equal size, rounded to bytes.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn between(a: &Picture, b: &Picture) -> Self {
        let differences: Vec<u8> =
            a.rgb8().iter().zip(b.rgb8().iter()).map(|(a, &b)| a.abs_diff(b)).collect();
        let mut counts = [0usize; 256];
        differences.iter().for_each(|&d| counts[usize::from(d)] += 1);
        let unclamped = (differences.len() as f64 * UNCLAMPED).ceil() as usize;
        let mut up_to_level = 0;
        let quantile = counts.iter().position(|count| {
            up_to_level += count;
            up_to_level >= unclamped
        });
        let quantile = quantile.unwrap_or(255);
        let factor = [100u8, 50, 20, 10, 5, 2].into_iter().find(|&f| usize::from(f) * quantile <= 255);
        let factor = factor.unwrap_or(1);
        let amplified: Vec<u8> = differences.iter().map(|d| d.saturating_mul(factor)).collect();
        let picture = Picture::from_rgb8(a.width(), a.height(), &amplified);
        Self { picture, factor, difference: metrics::difference(a, b) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_leaves_nearly_all_values_unclamped() {
        let grey = |levels: &[u8]| {
            let bytes: Vec<u8> = levels.iter().flat_map(|&v| [v; 3]).collect();
            Picture::from_rgb8(levels.len(), 1, &bytes)
        };
        let amplified = AmplifiedDifference::between(&grey(&[100, 90, 20]), &grey(&[97, 100, 20]));
        assert_eq!((amplified.factor, amplified.difference.max), (20, 10));
        assert_eq!(amplified.picture, grey(&[60, 200, 0]));
        assert!((amplified.difference.mean - 13.0 / 3.0).abs() < 1e-12);
        let mut rare = [5; 200];
        rare[7] = 255;
        let amplified = AmplifiedDifference::between(&grey(&rare), &grey(&[0; 200]));
        assert_eq!((amplified.factor, amplified.difference.max), (50, 255));
        assert_eq!(amplified.picture.to_rgb8()[3 * 7], 255);
        assert_eq!(AmplifiedDifference::between(&grey(&[9]), &grey(&[9])).factor, 100);
    }
}
