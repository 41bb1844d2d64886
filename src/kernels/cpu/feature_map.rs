//! Feature maps in host memory, blocked by 16 channels.

use crate::kernels::{Error, FeatureMap, Precision, Shape};

use super::memory::{Aligned, zeros};
use super::simd::BLOCK;

/// Activations `[c/16][h·w][16]` of one picture, in f32.
///
/// The channels of the last block beyond `channels` are zero. The distance between planes is an odd number of
/// cache lines; with a power of two, a pixel would occupy the same cache set in all planes.
#[derive(Default)]
pub struct HostMap {
    data: Aligned,
    pub(super) shape: Shape,
    /// Optionally computed by the operation that wrote the map, for the next group norm.
    pub(super) sums: Option<ChannelSums>,
}

/// The sum and the sum of squares of each channel over all pixels.
#[derive(Clone, Default, Debug)]
pub struct ChannelSums {
    /// Of the values.
    pub sum: Vec<f64>,
    /// Of their squares.
    pub squares: Vec<f64>,
}

impl Shape {
    /// Blocks of 16 channels; the last one can be partly empty.
    pub fn blocks(self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Floats from one block's plane to the next.
    pub fn plane(self) -> usize {
        (self.pixels() | 1) * BLOCK
    }

    /// Floats in a host map of this shape.
    pub fn floats(self) -> usize {
        self.blocks() * self.plane()
    }
}

impl HostMap {
    /// A map of zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] if the system refuses the memory, as in all functions of a map that return a `Result`.
    pub fn new(shape: Shape) -> Result<Self, Error> {
        Ok(Self { data: Aligned::zeroed(shape.floats())?, shape, sums: None })
    }

    /// Copies `[c, h, w]` planes.
    pub fn from_planes(planes: &[f32], shape: Shape) -> Result<Self, Error> {
        let mut map = Self::default();
        map.read_planes(planes, shape)?;
        Ok(map)
    }

    /// Changes the shape; the content is then unspecified.
    pub fn reshape(&mut self, shape: Shape) -> Result<(), Error> {
        self.data.ensure(shape.floats())?;
        self.shape = shape;
        self.sums = None;
        Ok(())
    }

    /// Takes the shape and copies `[c, h, w]` planes.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    pub fn read_planes(&mut self, planes: &[f32], shape: Shape) -> Result<(), Error> {
        assert_eq!(planes.len(), shape.channels * shape.pixels(), "planes for a map of {shape}");
        self.reshape(shape)?;
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
        Ok(())
    }

    /// A copy as `[c, h, w]` planes.
    pub fn to_planes(&self) -> Result<Vec<f32>, Error> {
        let pixels = self.shape.pixels();
        let mut planes = zeros(self.shape.channels * pixels)?;
        for (channel, plane) in planes.chunks_exact_mut(pixels.max(1)).enumerate() {
            let blocked = &self.data()[channel / BLOCK * self.shape.plane()..];
            let lane = blocked.chunks_exact(BLOCK).map(|pixel| pixel[channel % BLOCK]);
            plane.iter_mut().zip(lane).for_each(|(to, x)| *to = x);
        }
        Ok(planes)
    }

    /// The sums of each channel, if the map's writer kept them.
    pub fn sums(&self) -> Option<&ChannelSums> {
        self.sums.as_ref()
    }

    /// All floats in the order of memory, padding included.
    pub fn data(&self) -> &[f32] {
        self.data.as_slice()
    }

    /// All floats in host memory, mutable.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.data.as_mut_slice()
    }
}

impl FeatureMap for HostMap {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn capacity(&self) -> usize {
        self.data.capacity()
    }

    fn fits(&self, shape: Shape) -> bool {
        self.data.capacity() >= shape.floats()
    }

    fn wait(&self) -> Result<(), Error> {
        Ok(())
    }

    fn visit(&self, visit: &mut dyn FnMut(&[f32])) -> Result<(), Error> {
        // A map that was shrunk in place has more data than blocks.
        let blocks = self.data().chunks_exact(self.shape.plane()).take(self.shape.blocks());
        for (block, plane) in blocks.enumerate() {
            let pixels = &plane[..self.shape.pixels() * BLOCK];
            match self.shape.channels - block * BLOCK {
                BLOCK.. => visit(pixels),
                lanes => pixels.chunks_exact(BLOCK).for_each(|pixel| visit(&pixel[..lanes])),
            }
        }
        Ok(())
    }
}
