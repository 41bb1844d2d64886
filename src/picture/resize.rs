//! Pillow's `Image.resize(size, LANCZOS)`.
//!
//! Pillow resizes horizontally, rounds to bytes, then vertically. One call of `fast_image_resize` does not round
//! between, and differs by up to 17 levels; two calls along one axis each, with the rounding between them, agree
//! with Pillow within one level nearly everywhere.

use std::borrow::Cow;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::Picture;

impl Picture {
    /// The picture at another size. A 16-bit picture keeps its fractions.
    pub fn resize(&self, width: usize, height: usize) -> Self {
        let mut picture = Cow::Borrowed(self);
        if width != self.width {
            picture = Cow::Owned(picture.resize_axis(width, self.height));
        }
        if height != self.height {
            picture = Cow::Owned(picture.resize_axis(width, height));
        }
        picture.into_owned()
    }

    /// Changes one of the two sides; the other must be the picture's own.
    fn resize_axis(&self, width: usize, height: usize) -> Self {
        let pixels: Vec<F32x3> =
            self.samples.chunks_exact(3).map(|p| F32x3::new([p[0], p[1], p[2]])).collect();
        let side = |s: usize| u32::try_from(s).expect("sides of pictures fit 32 bits");
        let source = TypedImageRef::new(side(self.width), side(self.height), &pixels);
        let mut target = TypedImage::new(side(width), side(height));
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        Resizer::new()
            .resize_typed(&source.expect("as many pixels as the sides say"), &mut target, &options)
            .expect("neither side is zero, and the pixels are of one type");
        let level = |s: f32| if self.whole { s.round().clamp(0.0, 255.0) } else { s.clamp(0.0, 255.0) };
        let samples = target.pixels().iter().flat_map(|p| p.0.map(level)).collect();
        Self::new(width, height, samples, self.whole)
    }
}
