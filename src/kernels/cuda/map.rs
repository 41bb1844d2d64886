//! A feature map in a device's memory: `[h·w][channels]` in the engine's precision.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, PushKernelArg};
use half::{bf16, f16};

use crate::kernels::{Error, FeatureMap, Precision, Shape};

use super::engine::Engine;
use super::error::{CudaError, driver};
use super::memory::Buffer;

/// Channels are padded with zeros to a multiple of this: the unit of memory accesses and of tensor cores.
pub const EIGHT: usize = 8;

/// Activations of one picture in a device's memory.
pub struct DeviceMap {
    engine: Arc<Engine>,
    buffer: Buffer,
    shape: Shape,
}

/// Channels in memory, padding included.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(EIGHT)
}

/// Elements of a map in memory, which the kernels count in 32 bits.
pub fn elements(shape: Shape) -> Result<usize, CudaError> {
    let count = shape.pixels().checked_mul(padded(shape.channels)).filter(|&count| count < 1 << 31);
    count.ok_or_else(|| CudaError::TooLarge { shape: format!("a map {shape}") })
}

impl DeviceMap {
    /// A map without memory, to be written by an operation.
    pub fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: engine.clone(), buffer: Buffer::default(), shape: Shape::default() }
    }

    /// The engine whose memory it is in.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes the shape and copies `[c, h, w]` planes to the device.
    pub fn load(&mut self, planes: &[f32], shape: Shape) -> Result<(), CudaError> {
        elements(shape)?;
        if planes.len() != shape.channels * shape.pixels() {
            return Err(CudaError::Shape(format!("{} values for a map of {shape}", planes.len())));
        }
        let engine = self.engine.clone();
        let planes = engine.stream.upload(planes)?;
        let (pixels, given) = (shape.pixels() as u64, shape.channels as u32);
        let channels = padded(shape.channels) as u32;
        let mut launch = engine.stream.queue.launch_builder(&engine.kernels.from_planes);
        launch.arg(&planes).arg(self.reshape(shape)?).arg(&pixels).arg(&given).arg(&channels);
        // SAFETY: there are `given` planes of `pixels` values, and memory for `channels` of them.
        unsafe { launch.launch(engine.stream.each(shape.pixels())) }
            .map_err(driver("convert the layout of a picture"))?;
        Ok(())
    }

    /// Copies the `[c, h, w]` planes from the device.
    ///
    /// # Errors
    /// [`CudaError::NotFinite`] if a value is NaN or infinite.
    pub fn fetch(&self) -> Result<Vec<f32>, CudaError> {
        let (shape, stream) = (self.shape, &self.engine.stream);
        let map = self.memory()?;
        let planes = stream.alloc::<f32>(shape.channels * shape.pixels())?;
        let broken = stream.upload(&[0u32])?;
        let (pixels, wanted) = (shape.pixels() as u64, shape.channels as u32);
        let channels = padded(shape.channels) as u32;
        let mut launch = stream.queue.launch_builder(&self.engine.kernels.to_planes);
        launch.arg(map).arg(&planes).arg(&broken).arg(&pixels).arg(&wanted).arg(&channels);
        // SAFETY: the map has `pixels` of `channels`, and there are `wanted` planes of `pixels` values.
        unsafe { launch.launch(stream.each(shape.pixels())) }
            .map_err(driver("convert the layout of a result"))?;
        if stream.download(&broken)? != [0] {
            return Err(CudaError::NotFinite { precision: self.engine.precision });
        }
        stream.download(&planes)
    }

    /// The memory of a map that has been written.
    pub(super) fn memory(&self) -> Result<&CudaSlice<u8>, CudaError> {
        let count = elements(self.shape)? * self.engine.precision.bytes();
        let memory = self.buffer.memory().filter(|memory| count > 0 && memory.len() >= count);
        memory.ok_or_else(|| CudaError::Shape(format!("a map {} that was never written", self.shape)))
    }

    /// Takes the shape; returns the memory, to be written.
    pub(super) fn reshape(&mut self, shape: Shape) -> Result<&CudaSlice<u8>, CudaError> {
        let bytes = elements(shape)? * self.engine.precision.bytes();
        self.shape = shape;
        self.buffer.ensure(&self.engine.stream, bytes)
    }
}

impl FeatureMap for DeviceMap {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn precision(&self) -> Precision {
        self.engine.precision
    }

    fn capacity(&self) -> usize {
        self.buffer.capacity() / self.engine.precision.bytes()
    }

    fn fits(&self, shape: Shape) -> bool {
        elements(shape).is_ok_and(|count| count <= self.capacity())
    }

    fn wait(&self) -> Result<(), Error> {
        Ok(self.engine.stream.synchronize()?)
    }

    fn visit(&self, visit: &mut dyn FnMut(&[f32])) -> Result<(), Error> {
        let precision = self.engine.precision;
        let count = elements(self.shape)? * precision.bytes();
        let bytes: Vec<u8> = self.engine.stream.download(&self.memory()?.slice(..count))?;
        let pixels = widen(precision, &bytes);
        let pixels = pixels.chunks_exact(padded(self.shape.channels));
        pixels.for_each(|pixel| visit(&pixel[..self.shape.channels]));
        Ok(())
    }
}

fn widen(precision: Precision, bytes: &[u8]) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter().copied();
    match precision {
        Precision::F16 => halves().map(|x| f16::from_le_bytes(x).to_f32()).collect(),
        Precision::Bf16 => halves().map(|x| bf16::from_le_bytes(x).to_f32()).collect(),
        Precision::F32 => bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_each_precision_are_read() {
        let bytes = [0x00, 0x3e, 0x00, 0xc0, 0x00, 0x00, 0x20, 0x40];
        assert_eq!(widen(Precision::F16, &bytes)[..2], [1.5, -2.0]);
        assert_eq!(widen(Precision::Bf16, &bytes)[2..], [0.0, 2.5]);
        assert_eq!(widen(Precision::F32, &bytes)[1..], [2.5]);
    }

    #[test]
    fn maps_of_too_many_elements_are_refused() {
        assert_eq!(elements(Shape::new(3, 5, 7)), Ok(280));
        assert_eq!(elements(Shape::new(256, 2048, 2048)), Ok(1 << 30));
        assert!(matches!(elements(Shape::new(256, 4096, 2048)), Err(CudaError::TooLarge { .. })));
    }
}
