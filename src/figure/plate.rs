//! Latents and differences as pictures.

use candle_core::Tensor;

use crate::picture::Picture;

/// One channel of latents in greys, from its least value (black) to its greatest (white).
#[derive(Debug, Clone, PartialEq)]
pub struct Plate {
    /// One pixel for each value.
    pub picture: Picture,
    /// The value that is black.
    pub least: f32,
    /// The value that is white.
    pub greatest: f32,
}

/// Latents `[1, c, h, w]` → c plates, each with its own range.
pub fn plates(latents: &Tensor) -> candle_core::Result<Vec<Plate>> {
    let (channels, height, width) = latents.squeeze(0)?.dims3()?;
    let plate = |channel: usize| {
        let values = latents.get(0)?.get(channel)?.flatten_all()?.to_vec1::<f32>()?;
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let grey = |value: f32| match greatest - least {
            range if range > 0.0 => ((value - least) / range * 255.0).round() as u8,
            _ => 128, // all values are one
        };
        let bytes: Vec<u8> = values.iter().flat_map(|&v| [grey(v); 3]).collect();
        Ok(Plate { picture: Picture::from_rgb8(width, height, &bytes), least, greatest })
    };
    (0..channels).map(plate).collect()
}

/// The absolute difference of two pictures, amplified so that it can be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `|a − b| · factor`, cut off at 255.
    pub picture: Picture,
    /// One of 1, 2, 5, 10, 20, 50, 100.
    pub factor: u8,
    /// The largest difference of a sample, 0 to 255.
    pub largest: u8,
    /// The mean difference of the samples.
    pub mean: f64,
}

/// What share of the samples an amplified difference shows in full.
const SHOWN: f64 = 0.95;

impl Difference {
    /// Compares two pictures of one size, rounded to bytes.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn between(a: &Picture, b: &Picture) -> Self {
        assert_eq!(
            (a.width(), a.height()),
            (b.width(), b.height()),
            "a difference is of pictures of one size"
        );
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
        let sum: f64 = differences.iter().map(|&d| f64::from(d)).sum();
        Self {
            picture: Picture::from_rgb8(a.width(), a.height(), &amplified),
            factor,
            largest: differences.iter().copied().max().unwrap_or(0),
            mean: sum / differences.len() as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_plate_goes_from_black_to_white() {
        let values: Vec<f32> = [-3.0, 1.0, 0.0, -1.0, 5.0, 5.0].into();
        let latents = Tensor::from_vec(values, (1, 2, 1, 3), &Device::Cpu).expect("latents");
        let plates = plates(&latents).expect("plates");
        assert_eq!((plates[0].least, plates[0].greatest), (-3.0, 1.0));
        assert_eq!(plates[0].picture.to_rgb8(), [0, 0, 0, 255, 255, 255, 191, 191, 191]);
        assert_eq!(plates[1].picture.to_rgb8(), [0, 0, 0, 255, 255, 255, 255, 255, 255]);
        let flat = Tensor::full(2f32, (1, 1, 2, 1), &Device::Cpu).expect("latents");
        assert_eq!(super::plates(&flat).expect("plates")[0].picture.to_rgb8(), [128; 6]);
    }

    #[test]
    fn a_difference_is_amplified_until_nearly_all_of_it_shows() {
        let grey = |levels: &[u8]| {
            let bytes: Vec<u8> = levels.iter().flat_map(|&v| [v; 3]).collect();
            Picture::from_rgb8(levels.len(), 1, &bytes)
        };
        let difference = Difference::between(&grey(&[100, 90, 20]), &grey(&[97, 100, 20]));
        assert_eq!((difference.factor, difference.largest), (20, 10));
        assert_eq!(difference.picture, grey(&[60, 200, 0]));
        assert!((difference.mean - 13.0 / 3.0).abs() < 1e-12);
        let mut rare = [5; 200];
        rare[7] = 255;
        let difference = Difference::between(&grey(&rare), &grey(&[0; 200]));
        assert_eq!((difference.factor, difference.largest), (50, 255));
        assert_eq!(difference.picture.to_rgb8()[3 * 7], 255);
        assert_eq!(Difference::between(&grey(&[9]), &grey(&[9])).factor, 100);
    }
}
