//! The channels of latents as grey pictures, called plates, for inspection.

use candle_core::Tensor;

use crate::picture::{MAX_PIXELS, Picture};

use super::LatentsError;

/// One channel in grey, from its smallest value (black) to its largest (white); NaN and infinite values are red.
#[derive(Debug, Clone, PartialEq)]
pub struct Plate {
    /// One pixel per value.
    pub picture: Picture,
    /// The smallest finite value, which is black.
    pub min: f32,
    /// The largest finite value, which is white.
    pub max: f32,
}

impl Plate {
    fn of(values: &[f32], width: usize, height: usize) -> Self {
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        let (min, max) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        let colour = |x: f32| match x.is_finite() {
            true if max > min => [((x - min) / (max - min) * 255.0).round() as u8; 3],
            true => [128; 3], // all values are equal
            false => [255, 0, 0],
        };
        let bytes: Vec<u8> = values.iter().flat_map(|&x| colour(x)).collect();
        Self { picture: Picture::from_rgb8(width, height, &bytes), min, max }
    }
}

/// Returns the n·c plates of latents `[n, c, h, w]`, each with its own range.
pub fn plates(latents: &Tensor) -> candle_core::Result<Vec<Plate>> {
    let (n, c, height, width) = latents.dims4()?;
    let channels = latents.reshape((n * c, height * width))?.to_vec2::<f32>()?;
    Ok(channels.iter().map(|values| Plate::of(values, width, height)).collect())
}

/// The side of a latent value's square in pixels, smaller if the sheet would be too large: the downscaling of SD's VAE.
const LARGEST_SIDE: usize = 8;

/// The white gap between plates in pixels.
const GAP: usize = 8;

/// Draws latents `[n, c, h, w]` as one picture of n rows, each with the c plates of one picture side by side.
///
/// # Errors
/// [`LatentsError::TooLarge`] if even plates of one pixel per value do not fit into [`MAX_PIXELS`].
pub fn sheet(latents: &Tensor) -> Result<Picture, LatentsError> {
    let (n, c, h, w) = latents.dims4()?;
    let size = |side: usize| (c * (w * side + GAP) - GAP, n * (h * side + GAP) - GAP);
    let fits = |&side: &usize| (size(side).0 as u64).saturating_mul(size(side).1 as u64) <= MAX_PIXELS;
    let side = (1..=LARGEST_SIDE).rev().find(fits);
    let side = side.ok_or_else(|| LatentsError::TooLarge(latents.dims().to_vec()))?;
    let (width, height) = size(side);
    let mut bytes = vec![255; width * height * 3];
    for (i, plate) in plates(latents)?.iter().enumerate() {
        let (left, top) = (i % c * (w * side + GAP), i / c * (h * side + GAP));
        let plate = plate.picture.rgb8();
        for (y, row) in bytes.chunks_exact_mut(width * 3).skip(top).take(h * side).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).skip(left).take(w * side).enumerate() {
                pixel.copy_from_slice(&plate[(y / side * w + x / side) * 3..][..3]);
            }
        }
    }
    Ok(Picture::from_rgb8(width, height, &bytes))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_plate_ranges_from_black_to_white() {
        let values: Vec<f32> = [-3.0, 1.0, 0.0, -1.0, 5.0, 5.0].into();
        let latents = Tensor::from_vec(values, (1, 2, 1, 3), &Device::Cpu).expect("latents");
        let plates = plates(&latents).expect("plates");
        assert_eq!((plates[0].min, plates[0].max), (-3.0, 1.0));
        assert_eq!(plates[0].picture.to_rgb8(), [0, 0, 0, 255, 255, 255, 191, 191, 191]);
        assert_eq!(plates[1].picture.to_rgb8(), [0, 0, 0, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn every_channel_of_a_sheet_has_its_own_range() {
        let values = vec![0.0, 1.0, 4.0, f32::NAN, 2.0, 3.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0];
        let latents = Tensor::from_vec(values, (1, 2, 2, 3), &Device::Cpu).expect("12 values");
        let picture = sheet(&latents).expect("a picture");
        assert_eq!((picture.width(), picture.height()), (24 + 8 + 24, 16));
        let bytes = picture.to_rgb8();
        let pixel = |x: usize, y: usize| bytes[(y * 56 + x) * 3..][..3].to_vec();
        assert_eq!(pixel(0, 0), [0; 3]);
        assert_eq!(pixel(8, 7), [64; 3]);
        assert_eq!(pixel(23, 0), [255; 3]);
        assert_eq!(pixel(7, 8), [255, 0, 0]);
        assert_eq!(pixel(24, 5), [255; 3]);
        assert_eq!(pixel(32, 15), [128; 3]);
    }
}
