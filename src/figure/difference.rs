//! Differences as pictures.

use crate::metrics;
use crate::picture::Picture;

/// The absolute difference of two pictures, amplified so that it can be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `|a − b| · factor`, cut off at 255.
    pub picture: Picture,
    /// One of 1, 2, 5, 10, 20, 50, 100.
    pub factor: u8,
    /// What of it is told in numbers.
    pub told: metrics::Difference,
}

/// What share of the samples an amplified difference shows in full.
const SHOWN: f64 = 0.95;

impl Difference {
    /// Compares two pictures of one size, rounded to bytes.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn between(a: &Picture, b: &Picture) -> Self {
        let told = metrics::difference(a, b);
        let differences: Vec<u8> = a.to_rgb8().iter().zip(b.to_rgb8()).map(|(&a, b)| a.abs_diff(b)).collect();
        let mut counts = [0usize; 256];
        differences.iter().for_each(|&d| counts[usize::from(d)] += 1);
        let shown = (differences.len() as f64 * SHOWN).ceil() as usize;
        let mut below = 0;
        let most = counts.iter().position(|count| {
            below += count;
            below >= shown
        });
        let most = most.unwrap_or(255);
        let factor =
            [100u8, 50, 20, 10, 5, 2].into_iter().find(|&f| usize::from(f) * most <= 255).unwrap_or(1);
        let amplified: Vec<u8> = differences.iter().map(|d| d.saturating_mul(factor)).collect();
        Self { picture: Picture::from_rgb8(a.width(), a.height(), &amplified), factor, told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_amplified_until_nearly_all_of_it_shows() {
        let grey = |levels: &[u8]| {
            let bytes: Vec<u8> = levels.iter().flat_map(|&v| [v; 3]).collect();
            Picture::from_rgb8(levels.len(), 1, &bytes)
        };
        let difference = Difference::between(&grey(&[100, 90, 20]), &grey(&[97, 100, 20]));
        assert_eq!((difference.factor, difference.told.max), (20, 10));
        assert_eq!(difference.picture, grey(&[60, 200, 0]));
        assert!((difference.told.mean - 13.0 / 3.0).abs() < 1e-12);
        let mut rare = [5; 200];
        rare[7] = 255;
        let difference = Difference::between(&grey(&rare), &grey(&[0; 200]));
        assert_eq!((difference.factor, difference.told.max), (50, 255));
        assert_eq!(difference.picture.to_rgb8()[3 * 7], 255);
        assert_eq!(Difference::between(&grey(&[9]), &grey(&[9])).factor, 100);
    }
}
