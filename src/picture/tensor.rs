//! [`Picture`] ⇄ the tensors that the model reads and returns.

use candle_core::{DType, Device, Storage, Tensor};

use super::{Picture, PictureError, Values};

impl Picture {
    /// Returns the pixels `[1, 3, h, w]` in −1..1 as f32: `2 · (value / 255) − 1`.
    pub fn to_tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        let pixels = match &self.values {
            Values::U8(values) => planes(values),
            Values::F32(values) => planes(values),
        };
        Tensor::from_vec(pixels, (1, 3, self.height, self.width), device)
    }

    /// Converts pixels `[1, 3, h, w]` or `[3, h, w]` in about −1..1 to an 8-bit picture:
    /// `(x/2 + 0.5).clamp(0, 1) · 255`, rounded to the nearest, halves to even, as numpy does.
    ///
    /// # Errors
    /// [`PictureError::NotFinite`] if a value is NaN or infinite: clamping would hide the failure.
    pub fn from_tensor(pixels: &Tensor) -> Result<Self, PictureError> {
        let pixels = if pixels.rank() == 4 { pixels.squeeze(0)? } else { pixels.clone() };
        let (channels, height, width) = pixels.dims3()?;
        if channels != 3 {
            return Err(candle_core::Error::Msg(format!("a picture has 3 channels, not {channels}")).into());
        }
        let pixels = pixels.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
        let (storage, layout) = pixels.storage_and_layout();
        let Storage::Cpu(planes) = &*storage else {
            return Err(candle_core::Error::Msg("the tensor has no storage on the CPU".into()).into());
        };
        let planes = &planes.as_slice::<f32>()?[layout.start_offset()..][..3 * height * width]; // no copy
        let bad = planes.iter().filter(|p| !p.is_finite()).count();
        if bad > 0 {
            return Err(PictureError::NotFinite { bad, all: planes.len() });
        }
        let level = |p: f32| ((p / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let plane = height * width;
        let mut values = Vec::with_capacity(3 * plane);
        for i in 0..plane {
            values.extend([0, 1, 2].map(|c| level(planes[c * plane + i])));
        }
        Ok(Self::new(width, height, Values::U8(values)))
    }
}

/// Returns values `[height, width, 3]` in 0..255 as `[3, height, width]` in −1..1.
fn planes<V: Copy + Into<f32>>(values: &[V]) -> Vec<f32> {
    let plane = values.len() / 3;
    let mut pixels = vec![0f32; 3 * plane];
    for (i, rgb) in values.chunks_exact(3).enumerate() {
        for (c, &value) in rgb.iter().enumerate() {
            pixels[c * plane + i] = 2.0 * (value.into() / 255.0) - 1.0;
        }
    }
    pixels
}
