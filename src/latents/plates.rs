//! Latents as grey pictures, to look at.

use candle_core::Tensor;

use super::LatentsError;
use crate::picture::Picture;
use crate::picture::read::MOST_PIXELS;

/// A latent pixel becomes a square of this side, as far as the picture's size allows: SD's own step.
const ENLARGED: usize = 8;

/// White pixels between plates.
const GAP: usize = 8;

/// Latents `[n, c, h, w]` → one picture: a row for each of the batch, in it the channels side by side, each from its
/// smallest value in black to its largest in white. What is no finite number is red.
pub fn plates(latents: &Tensor) -> Result<Picture, LatentsError> {
    let (n, c, h, w) = latents.dims4()?;
    let size = |side: usize| (c * (w * side + GAP) - GAP, n * (h * side + GAP) - GAP);
    let fits = |&side: &usize| (size(side).0 as u64).saturating_mul(size(side).1 as u64) <= MOST_PIXELS;
    let side = (1..=ENLARGED).rev().find(fits);
    let side =
        side.ok_or_else(|| LatentsError::Tensor(format!("too many for a picture: {:?}", latents.dims())))?;
    let (width, height) = size(side);
    let mut bytes = vec![255; width * height * 3];
    for i in 0..n {
        for j in 0..c {
            let values = latents.get(i)?.get(j)?.to_vec2::<f32>()?;
            let finite = || values.iter().flatten().copied().filter(|x| x.is_finite());
            let (least, most) = finite().fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(x), b.max(x)));
            let grey = |x: f32| match x.is_finite() {
                true if most > least => [((x - least) / (most - least) * 255.0).round() as u8; 3],
                true => [128; 3],
                false => [255, 0, 0],
            };
            let (left, top) = (j * (w * side + GAP), i * (h * side + GAP));
            for (y, row) in bytes.chunks_exact_mut(width * 3).skip(top).take(h * side).enumerate() {
                for (x, pixel) in row.chunks_exact_mut(3).skip(left).take(w * side).enumerate() {
                    pixel.copy_from_slice(&grey(values[y / side][x / side]));
                }
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
    fn every_channel_is_a_plate_of_its_own_range() {
        let values = vec![0.0, 1.0, 4.0, f32::NAN, 2.0, 3.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0];
        let latents = Tensor::from_vec(values, (1, 2, 2, 3), &Device::Cpu).expect("12 values");
        let picture = plates(&latents).expect("a picture");
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
