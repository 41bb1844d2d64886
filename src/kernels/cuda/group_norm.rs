//! Group norm: the first launch leaves a scale and a shift per channel, the second applies them.

use super::engine::{Buffer, Engine, THREADS, driver, launch};
use super::error::CudaError;
use super::map::{EIGHT, elements, padded};
use crate::kernels::feature_map::{FeatureMap, Shape};
use crate::kernels::group_norm;
use cudarc::driver::{CudaSlice, PushKernelArg};
use std::fmt;
use std::sync::Arc;

/// A group norm's γ and β, on the device.
pub struct Affine {
    engine: Arc<Engine>,
    weight: CudaSlice<f32>,
    bias: CudaSlice<f32>,
    channels: usize,
}

/// The norm of one map: a scale and a shift per channel, on the device.
#[derive(Clone)]
pub struct Norm {
    engine: Arc<Engine>,
    scale: Arc<CudaSlice<f32>>,
    shift: Arc<CudaSlice<f32>>,
    channels: usize,
    silu: bool,
}

/// What the statistics of one map at a time use.
#[derive(Default)]
pub struct Statistics {
    moments: Buffer,
    /// Blocks that are done; zero between launches.
    ended: Option<CudaSlice<u32>>,
}

/// Bytes of one `Moments`.
const MOMENTS: usize = 12;
/// Bytes of shared memory per channel of a row of threads.
const SHARED: usize = 8;
/// Pixels that a row of threads takes at least, so that a block's merging is the smaller part of its work.
const PIXELS: usize = 16;

impl Affine {
    /// Copies γ and β `[c]`.
    pub fn upload(engine: &Arc<Engine>, weight: &[f32], bias: &[f32]) -> Result<Self, CudaError> {
        let engine = engine.clone();
        let (channels, weight, bias) = (weight.len(), engine.upload(weight)?, engine.upload(bias)?);
        Ok(Self { engine, weight, bias, channels })
    }

    /// The norm of x, for the convolution that reads it next.
    pub fn of(
        &self,
        x: &FeatureMap,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> Result<group_norm::Norm, CudaError> {
        let engine = &*self.engine;
        let Shape { channels, .. } = x.shape;
        if channels != self.channels || groups == 0 || channels % groups != 0 || x.shape.pixels() == 0 {
            let shape = x.shape;
            return Err(CudaError::Shape(format!(
                "a norm of {} channels in {groups} groups, of a map of {shape}",
                self.channels
            )));
        }
        let depth = padded(channels);
        let scale = engine.alloc::<f32>(depth)?;
        let shift = engine.alloc::<f32>(depth)?;
        self.statistics(x, (groups, eps as f32), (&scale, &shift))?;
        let (engine, scale, shift) = (self.engine.clone(), Arc::new(scale), Arc::new(shift));
        let device = Some(Norm { engine, scale, shift, channels, silu });
        Ok(group_norm::Norm { device, silu, ..Default::default() })
    }

    fn statistics(
        &self,
        x: &FeatureMap,
        (groups, eps): (usize, f32),
        (scale, shift): (&CudaSlice<f32>, &CudaSlice<f32>),
    ) -> Result<(), CudaError> {
        let engine = &*self.engine;
        let (pixels, depth) = (x.shape.pixels(), padded(x.shape.channels));
        let rows = THREADS as usize / (depth / EIGHT).min(THREADS as usize);
        // The last block merges what all found: few of them keep that short.
        let blocks = pixels.div_ceil(rows * PIXELS).min(8 * engine.multiprocessors());
        let slab = pixels.div_ceil(blocks);
        let blocks = pixels.div_ceil(slab);

        let Statistics { moments, ended } = &mut engine.work().statistics;
        let moments = moments.ensure(engine, blocks * groups * MOMENTS)?;
        let ended = match ended {
            Some(ended) => ended,
            None => ended.insert(engine.upload(&[0u32])?),
        };
        let per_group = (self.channels / groups) as u32;
        let (pixels, slab, channels, groups) = (pixels as u64, slab as u64, depth as u32, groups as u32);
        let mut statistics = engine.stream.launch_builder(&engine.kernels.norm_statistics);
        statistics.arg(x.on_device()?).arg(&self.weight).arg(&self.bias).arg(scale).arg(shift);
        statistics.arg(moments).arg(&*ended).arg(&pixels).arg(&slab);
        statistics.arg(&channels).arg(&groups).arg(&per_group).arg(&eps);
        // SAFETY: the map, the factors and the moments are as large as these numbers say, and a block's shared memory
        // has a mean and squares for each channel of each row of threads.
        unsafe { statistics.launch(launch((blocks as u32, 1), rows * depth * SHARED)) }
            .map_err(driver("take a group norm's statistics"))?;
        Ok(())
    }
}

impl Norm {
    /// Where it lies.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// `y = norm(x)`
    pub fn apply(&self, x: &FeatureMap, y: &mut FeatureMap) -> Result<(), CudaError> {
        self.apply_to(x, y.reshape_on_device(x.shape)?)
    }

    /// The same, to memory that is as large as x.
    pub(super) fn apply_to(&self, x: &FeatureMap, y: &CudaSlice<u8>) -> Result<(), CudaError> {
        if x.shape.channels != self.channels {
            let (channels, shape) = (self.channels, x.shape);
            return Err(CudaError::Shape(format!("a norm of {channels} channels for {shape}")));
        }
        let engine = &*self.engine;
        let vectors = elements(x.shape)? / EIGHT;
        let (pixels, silu) = (x.shape.pixels() as u64, u32::from(self.silu));
        let channels = padded(self.channels) as u32;
        let mut apply = engine.stream.launch_builder(&engine.kernels.norm_apply);
        apply.arg(x.on_device()?).arg(y).arg(&*self.scale).arg(&*self.shift);
        apply.arg(&pixels).arg(&channels).arg(&silu);
        // SAFETY: both maps have so many pixels of so many channels, and each channel has its factors.
        unsafe { apply.launch(engine.each(vectors)) }.map_err(driver("norm a map"))?;
        Ok(())
    }
}

impl fmt::Debug for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a norm of {} channels on {:?}", self.channels, self.engine)
    }
}
