//! Latents as grey pictures, to look at.

use candle_core::Tensor;

use super::LatentsError;
use crate::picture::{MAX_PIXELS, Picture};

/// One channel in greys, from its least value (black) to its greatest (white). What is no finite number is red.
#[derive(Debug, Clone, PartialEq)]
pub struct Plate {
    /// One pixel for each value.
    pub picture: Picture,
    /// The value that is black.
    pub least: f32,
    /// The value that is white.
    pub greatest: f32,
}

impl Plate {
    fn of(values: &[f32], width: usize, height: usize) -> Self {
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        let (least, greatest) =
            (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        let colour = |x: f32| match x.is_finite() {
            true if greatest > least => [((x - least) / (greatest - least) * 255.0).round() as u8; 3],
            true => [128; 3], // all values are one
            false => [255, 0, 0],
        };
        let bytes: Vec<u8> = values.iter().flat_map(|&x| colour(x)).collect();
        Self { picture: Picture::from_rgb8(width, height, &bytes), least, greatest }
    }
}

/// Latents `[n, c, h, w]` → n·c plates, each with its own range.
pub fn plates(latents: &Tensor) -> candle_core::Result<Vec<Plate>> {
    let (n, c, height, width) = latents.dims4()?;
    let channels = latents.reshape((n * c, height * width))?.to_vec2::<f32>()?;
    Ok(channels.iter().map(|values| Plate::of(values, width, height)).collect())
}

/// A latent pixel becomes a square of this side, as far as the picture's size allows: SD's own step.
const ENLARGED: usize = 8;

/// White pixels between plates.
const GAP: usize = 8;

/// Latents `[n, c, h, w]` → one picture: a row for each of the batch, in it the plates of its channels side by side.
pub fn sheet(latents: &Tensor) -> Result<Picture, LatentsError> {
    let (n, c, h, w) = latents.dims4()?;
    let size = |side: usize| (c * (w * side + GAP) - GAP, n * (h * side + GAP) - GAP);
    let fits = |&side: &usize| (size(side).0 as u64).saturating_mul(size(side).1 as u64) <= MAX_PIXELS;
    let side = (1..=ENLARGED).rev().find(fits);
    let side =
        side.ok_or_else(|| LatentsError::Tensor(format!("too many for a picture: {:?}", latents.dims())))?;
    let (width, height) = size(side);
    let mut bytes = vec![255; width * height * 3];
    for (i, plate) in plates(latents)?.iter().enumerate() {
        let (left, top) = (i % c * (w * side + GAP), i / c * (h * side + GAP));
        let plate = plate.picture.to_rgb8();
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
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_plate_goes_from_black_to_white() {
        let values: Vec<f32> = [-3.0, 1.0, 0.0, -1.0, 5.0, 5.0].into();
        let latents = Tensor::from_vec(values, (1, 2, 1, 3), &Device::Cpu).expect("latents");
        let plates = plates(&latents).expect("plates");
        assert_eq!((plates[0].least, plates[0].greatest), (-3.0, 1.0));
        assert_eq!(plates[0].picture.to_rgb8(), [0, 0, 0, 255, 255, 255, 191, 191, 191]);
        assert_eq!(plates[1].picture.to_rgb8(), [0, 0, 0, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn a_sheet_has_every_channel_in_its_own_range() {
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
