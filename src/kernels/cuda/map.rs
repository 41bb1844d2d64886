//! A feature map in a device's memory: `[h·w][channels]` of the engine's precision.

use super::Element;
use super::engine::{Buffer, Engine, driver};
use super::error::CudaError;
use crate::kernels::feature_map::{FeatureMap, Shape};
use cudarc::driver::{CudaSlice, PushKernelArg};
use std::sync::Arc;

/// Channels are padded with zeros to a multiple of this: what memory moves at once, and tensor cores take.
pub const EIGHT: usize = 8;

/// The memory of a feature map on a device.
pub struct Map {
    engine: Arc<Engine>,
    buffer: Buffer,
}

/// Channels as they lie in memory.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(EIGHT)
}

/// Elements of a map, which the kernels count in 32 bits.
pub fn elements(shape: Shape) -> Result<usize, CudaError> {
    let count = shape.pixels().checked_mul(padded(shape.channels)).filter(|&count| count < 1 << 31);
    count.ok_or_else(|| CudaError::TooLarge { shape: format!("a map {shape}") })
}

impl Engine {
    /// A map without memory, to be written.
    pub fn map(self: &Arc<Self>) -> FeatureMap {
        let mut map = FeatureMap::default();
        map.device = Some(Map { engine: self.clone(), buffer: Buffer::default() });
        map
    }
}

impl Map {
    /// Where it lies.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Whether a map of this shape fits into the memory that it has.
    pub fn has_room(&self, shape: Shape) -> bool {
        elements(shape).is_ok_and(|count| count * self.engine.element().bytes() <= self.buffer.capacity())
    }

    /// Elements that it has memory for.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity() / self.engine.element().bytes()
    }

    /// Copies `[c, h, w]` planes to the device.
    pub fn load(&mut self, planes: &[f32], shape: Shape) -> Result<(), CudaError> {
        let count = elements(shape)?;
        if planes.len() != shape.channels * shape.pixels() {
            return Err(CudaError::Shape(format!("{} values for a map of {shape}", planes.len())));
        }
        let engine = &*self.engine;
        let planes = engine.upload(planes)?;
        let map = self.buffer.ensure(engine, count * engine.element().bytes())?;
        let (pixels, given) = (shape.pixels() as u64, shape.channels as u32);
        let channels = padded(shape.channels) as u32;
        let mut launch = engine.stream.launch_builder(&engine.kernels.from_planes);
        launch.arg(&planes).arg(map).arg(&pixels).arg(&given).arg(&channels);
        // SAFETY: there are `given` planes of `pixels` values, and room for `channels` of them.
        unsafe { launch.launch(engine.each(shape.pixels())) }.map_err(driver("lay out a picture"))?;
        Ok(())
    }

    /// Copies `[c, h, w]` planes from the device.
    ///
    /// # Errors
    /// [`CudaError::NotFinite`] where a value is a NaN or an infinity.
    pub fn fetch(&self, shape: Shape) -> Result<Vec<f32>, CudaError> {
        let engine = &*self.engine;
        let map = self.memory(shape)?;
        let planes = engine.alloc::<f32>(shape.channels * shape.pixels())?;
        let broken = engine.upload(&[0u32])?;
        let (pixels, wanted) = (shape.pixels() as u64, shape.channels as u32);
        let channels = padded(shape.channels) as u32;
        let mut launch = engine.stream.launch_builder(&engine.kernels.to_planes);
        launch.arg(map).arg(&planes).arg(&broken).arg(&pixels).arg(&wanted).arg(&channels);
        // SAFETY: the map has `pixels` of `channels`, and the planes are as many and as long as said.
        unsafe { launch.launch(engine.each(shape.pixels())) }.map_err(driver("lay out a result"))?;
        let broken = engine.download(&broken)?;
        if broken != [0] {
            return Err(CudaError::NotFinite { element: engine.element() });
        }
        engine.download(&planes)
    }

    /// All values, pixel by pixel, in f32; fetched when asked for. Where the device fails they are all NaN, and the
    /// engine's next operation is the error.
    pub fn values(&self, shape: Shape) -> impl Iterator<Item = f32> + Clone + use<> {
        let element = self.engine.element();
        let bytes = self.bytes(shape).unwrap_or_default();
        let bytes: Arc<[u8]> = bytes.into();
        let (channels, row) = (shape.channels, padded(shape.channels));
        (0..shape.pixels() * channels).map(move |i| widen(element, &bytes, i / channels * row + i % channels))
    }

    fn bytes(&self, shape: Shape) -> Result<Vec<u8>, CudaError> {
        let count = elements(shape)? * self.engine.element().bytes();
        self.engine.download(&self.memory(shape)?.slice(..count))
    }

    /// The memory of a map that was written in this shape.
    fn memory(&self, shape: Shape) -> Result<&CudaSlice<u8>, CudaError> {
        let count = elements(shape)? * self.engine.element().bytes();
        let memory = self.buffer.memory().filter(|memory| memory.len() >= count);
        memory.ok_or_else(|| CudaError::Shape(format!("a map {shape} that was never written")))
    }
}

/// The element at `index`; NaN where there is none.
fn widen(element: Element, bytes: &[u8], index: usize) -> f32 {
    let bytes = bytes.get(index * element.bytes()..).unwrap_or(&[]);
    match (element, bytes) {
        (Element::F16, &[a, b, ..]) => half::f16::from_le_bytes([a, b]).to_f32(),
        (Element::Bf16, &[a, b, ..]) => half::bf16::from_le_bytes([a, b]).to_f32(),
        (Element::F32, &[a, b, c, d, ..]) => f32::from_le_bytes([a, b, c, d]),
        _ => f32::NAN,
    }
}

impl FeatureMap {
    /// Its memory on the device, to be read.
    pub(super) fn on_device(&self) -> Result<&CudaSlice<u8>, CudaError> {
        match &self.device {
            Some(map) => map.memory(self.shape),
            None => Err(CudaError::Shape(format!("a map {} in host memory, given to a device", self.shape))),
        }
    }

    /// Its memory on the device, to be written as a map of this shape.
    pub(super) fn reshape_on_device(&mut self, shape: Shape) -> Result<&CudaSlice<u8>, CudaError> {
        let Some(map) = &mut self.device else {
            return Err(CudaError::Shape(format!("a map in host memory for {shape} of a device")));
        };
        let bytes = elements(shape)? * map.engine.element().bytes();
        self.shape = shape;
        map.buffer.ensure(&map.engine, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_each_precision_are_read() {
        let bytes = [0x00, 0x3e, 0x00, 0xc0, 0x00, 0x00, 0x20, 0x40];
        assert_eq!([0, 1].map(|i| widen(Element::F16, &bytes, i)), [1.5, -2.0]);
        assert_eq!([2, 3].map(|i| widen(Element::Bf16, &bytes, i)), [0.0, 2.5]);
        assert_eq!(widen(Element::F32, &bytes, 1), 2.5);
        assert!(widen(Element::F32, &bytes, 2).is_nan());
    }

    #[test]
    fn what_32_bits_do_not_count_is_refused() {
        assert_eq!(elements(Shape::new(3, 5, 7)), Ok(280));
        assert_eq!(elements(Shape::new(256, 2048, 2048)), Ok(1 << 30));
        assert!(matches!(elements(Shape::new(256, 4096, 2048)), Err(CudaError::TooLarge { .. })));
    }
}
