//! A picture inside the network: channel-blocked activations, with what their writer knew about them.

use crate::kernels::cuda;
use crate::kernels::memory::Aligned;
use crate::kernels::simd::BLOCK;
use rayon::iter::Either;
use std::fmt;
use std::sync::Arc;

/// Activations `[c/16][h·w][16]`, one picture; or the same picture in a CUDA device's memory.
///
/// The channels of the last block beyond `channels` are zero. Planes are an odd number of cache lines apart: a power
/// of two would put the same pixel of all planes into the same cache set.
#[derive(Default)]
pub struct FeatureMap {
    data: Aligned,
    /// Where the values are, if not in `data`.
    pub(in crate::kernels) device: Option<cuda::Map>,
    /// Channels, height and width.
    pub(in crate::kernels) shape: Shape,
    /// Written by the operation that made the map, if it was asked to; for the group norm that reads it next.
    pub(in crate::kernels) sums: Option<ChannelSums>,
}

/// Channels, height, width.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}]", self.channels, self.height, self.width)
    }
}

/// Per channel: the sum and the sum of squares over all pixels.
#[derive(Clone, Default, Debug)]
pub struct ChannelSums {
    /// Of the values.
    pub sum: Vec<f64>,
    /// Of their squares.
    pub squares: Vec<f64>,
}

impl Shape {
    /// Three numbers in the order of a tensor's dimensions.
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Blocks of 16 channels, the last one perhaps partly empty.
    pub fn blocks(self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Height times width.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Floats from a block's plane to the next block's.
    pub fn plane(self) -> usize {
        (self.pixels() | 1) * BLOCK
    }

    /// Floats in a feature map of this shape.
    pub fn floats(self) -> usize {
        self.blocks() * self.plane()
    }
}

impl FeatureMap {
    /// A map of zeros.
    pub fn new(shape: Shape) -> Self {
        Self { data: Aligned::zeroed(shape.floats()), device: None, shape, sums: None }
    }

    /// The engine of the device that it is on.
    pub fn engine(&self) -> Option<&Arc<cuda::Engine>> {
        self.device.as_ref().map(cuda::Map::engine)
    }

    /// Numbers that it has memory for.
    pub fn capacity(&self) -> usize {
        self.device.as_ref().map_or(self.data.capacity(), cuda::Map::capacity)
    }

    /// Whether it has memory for a map of this shape.
    pub fn has_room(&self, shape: Shape) -> bool {
        self.device.as_ref().map_or(self.data.capacity() >= shape.floats(), |map| map.has_room(shape))
    }

    /// Takes another shape and forgets the content.
    pub fn reshape(&mut self, shape: Shape) {
        self.data.ensure(shape.floats());
        self.shape = shape;
        self.sums = None;
    }

    /// Copies `[c, h, w]` planes.
    pub fn from_planes(planes: &[f32], shape: Shape) -> Self {
        let mut map = Self::default();
        map.read_planes(planes, shape);
        map
    }

    /// Takes the shape and copies `[c, h, w]` planes to where the map is.
    pub fn load(&mut self, planes: &[f32], shape: Shape) -> Result<(), cuda::CudaError> {
        let Some(map) = &mut self.device else {
            self.read_planes(planes, shape);
            return Ok(());
        };
        map.load(planes, shape)?;
        self.shape = shape;
        Ok(())
    }

    /// The `[c, h, w]` planes, from where the map is.
    ///
    /// # Errors
    /// Those of the device; [`cuda::CudaError::NotFinite`] if a value there is a NaN or an infinity.
    pub fn fetch(&self) -> Result<Vec<f32>, cuda::CudaError> {
        match &self.device {
            Some(map) => map.fetch(self.shape),
            None => Ok(self.to_planes()),
        }
    }

    /// Takes the shape and copies `[c, h, w]` planes into host memory.
    pub fn read_planes(&mut self, planes: &[f32], shape: Shape) {
        assert_eq!(planes.len(), shape.channels * shape.pixels(), "planes for a map of {shape}");
        self.reshape(shape);
        let pixels = shape.pixels();
        for (block, blocked) in self.data.as_mut_slice().chunks_exact_mut(shape.plane()).enumerate() {
            for lane in 0..BLOCK {
                let channel = block * BLOCK + lane;
                if channel < shape.channels {
                    let plane = &planes[channel * pixels..][..pixels];
                    blocked.chunks_exact_mut(BLOCK).zip(plane).for_each(|(pixel, &x)| pixel[lane] = x);
                } else {
                    blocked.chunks_exact_mut(BLOCK).for_each(|pixel| pixel[lane] = 0.0);
                }
            }
        }
    }

    /// Copies from host memory into `[c, h, w]` planes.
    pub fn write_planes(&self, planes: &mut [f32]) {
        let pixels = self.shape.pixels();
        assert_eq!(planes.len(), self.shape.channels * pixels, "planes of a map of {}", self.shape);
        for (channel, plane) in planes.chunks_exact_mut(pixels.max(1)).enumerate() {
            let blocked = &self.data()[channel / BLOCK * self.shape.plane()..];
            plane
                .iter_mut()
                .zip(blocked.chunks_exact(BLOCK))
                .for_each(|(x, pixel)| *x = pixel[channel % BLOCK]);
        }
    }

    /// Channels, height and width.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The sums of each channel, where the map's writer kept them.
    pub fn sums(&self) -> Option<&ChannelSums> {
        self.sums.as_ref()
    }

    /// All values, in the order in which they lie, without the channels that only pad. From a device they are fetched.
    pub fn values(&self) -> impl Iterator<Item = f32> + Clone {
        match &self.device {
            Some(map) => Either::Left(map.values(self.shape)),
            None => Either::Right(self.host_values()),
        }
    }

    fn host_values(&self) -> impl Iterator<Item = f32> + Clone {
        let Shape { channels, .. } = self.shape;
        let blocks = self.data().chunks_exact(self.shape.plane()).enumerate();
        blocks.flat_map(move |(block, plane)| {
            let lanes = BLOCK.min(channels - block * BLOCK);
            let pixels = plane.chunks_exact(BLOCK).take(self.shape.pixels());
            pixels.flat_map(move |pixel| pixel[..lanes].iter().copied())
        })
    }

    /// The `[c, h, w]` planes of a map in host memory.
    pub fn to_planes(&self) -> Vec<f32> {
        let mut planes = vec![0.0; self.shape.channels * self.shape.pixels()];
        self.write_planes(&mut planes);
        planes
    }

    /// All floats, as they lie in host memory.
    pub fn data(&self) -> &[f32] {
        self.data.as_slice()
    }

    /// All floats, to be written.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.data.as_mut_slice()
    }
}
