//! Group norm: the first launch computes a scale and a shift per channel, the second applies them. RMS norm: one launch that
//! computes a factor per pixel and applies it.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::{CudaSlice, PushKernelArg};

use crate::kernels::{Activation, FeatureMap, MAX_CHANNELS, NormParameters};

use super::engine::{Engine, NormScratch};
use super::error::{CudaError, driver};
use super::map::{DeviceMap, EIGHT, elements, padded};
use super::memory::{THREADS, launch};

/// A norm's weights in the device's memory.
pub struct DeviceNorm {
    engine: Arc<Engine>,
    /// γ `[c]`; padded with zeros for an RMS norm.
    weight: Arc<CudaSlice<f32>>,
    channels: usize,
    /// What only a group norm has.
    grouped: Option<Grouped>,
}

struct Grouped {
    bias: CudaSlice<f32>,
    groups: usize,
    eps: f32,
}

/// A scale and a shift per channel for one map, in the device's memory.
pub struct DeviceCoefficients {
    engine: Arc<Engine>,
    /// γ of an RMS norm.
    scale: Arc<CudaSlice<f32>>,
    /// Absent for an RMS norm, whose factor per pixel is computed when it is applied.
    shift: Option<CudaSlice<f32>>,
    channels: usize,
    activation: Activation,
}

/// Bytes of one `Moments`.
const MOMENTS: usize = 12;
/// Bytes of shared memory per channel and row of threads.
const SHARED: usize = 8;
/// Bytes of shared memory that every device has for a block.
const SHARED_MEMORY: usize = 48 << 10;
// The moments of all threads are in shared memory, too. Maps of up to 2048 channels have several rows, of 2048 channels together.
const _: () = assert!(MAX_CHANNELS * SHARED + THREADS as usize * MOMENTS < SHARED_MEMORY);
/// Threads that share a pixel of an RMS norm: `LANES` in `source/rms_norm.cu`.
const SHARING: usize = 8;
/// The fewest pixels for a row of threads, so that merging is the smaller part of a block's work.
const PIXELS: usize = 16;

impl DeviceNorm {
    /// Copies γ and β of a group norm to the device.
    pub fn upload(engine: &Arc<Engine>, parameters: &NormParameters) -> Result<Self, CudaError> {
        let NormParameters { weight, bias, groups, eps } = parameters;
        Ok(Self {
            engine: engine.clone(),
            weight: Arc::new(engine.stream.upload(weight)?),
            channels: weight.len(),
            grouped: Some(Grouped { bias: engine.stream.upload(bias)?, groups: *groups, eps: *eps as f32 }),
        })
    }

    /// Copies γ of an RMS norm over the channels of each pixel to the device.
    pub fn upload_rms(engine: &Arc<Engine>, weight: &[f32]) -> Result<Self, CudaError> {
        let mut padding = weight.to_vec();
        padding.resize(padded(weight.len()), 0.0);
        let (engine, weight, channels) =
            (engine.clone(), Arc::new(engine.stream.upload(&padding)?), weight.len());
        Ok(Self { engine, weight, channels, grouped: None })
    }

    /// The norm of x, as coefficients.
    pub fn of(&self, x: &DeviceMap, activation: Activation) -> Result<DeviceCoefficients, CudaError> {
        let engine = &*self.engine;
        engine.require_all([x.engine()])?;
        let (shape, channels) = (x.shape(), self.channels);
        let groups = self.grouped.as_ref().map_or(1, |grouped| grouped.groups);
        if shape.channels != channels || groups == 0 || channels % groups != 0 || shape.pixels() == 0 {
            let norm = format!("a norm of {channels} channels in {groups} groups");
            return Err(CudaError::Shape(format!("{norm} does not fit a map of {shape}")));
        }
        let (engine, scale, shift) = (self.engine.clone(), self.weight.clone(), None);
        let norm = DeviceCoefficients { engine, scale, shift, channels, activation };
        match &self.grouped {
            Some(grouped) => self.compute(grouped, x, norm),
            None => Ok(norm),
        }
    }

    /// Fills in the scale and the shift of a group norm.
    fn compute(
        &self,
        grouped: &Grouped,
        x: &DeviceMap,
        norm: DeviceCoefficients,
    ) -> Result<DeviceCoefficients, CudaError> {
        let engine = &*self.engine;
        let &Grouped { ref bias, groups, eps } = grouped;
        let (pixels, depth) = (x.shape().pixels(), padded(self.channels));
        let rows = THREADS as usize / (depth / EIGHT).min(THREADS as usize);
        // The last block merges the results of all: a small number keeps that short.
        let blocks = pixels.div_ceil(rows * PIXELS).min(8 * engine.stream.multiprocessors);
        let slab = pixels.div_ceil(blocks);
        let blocks = pixels.div_ceil(slab);

        let NormScratch { moments, ended } = &mut engine.scratch().norm;
        let moments = moments.ensure(&engine.stream, blocks * groups * MOMENTS)?;
        let ended = match ended {
            Some(ended) => ended,
            None => ended.insert(engine.stream.upload(&[0u32])?),
        };
        let per_group = (self.channels / groups) as u32;
        let (scale, shift) = (engine.stream.alloc::<f32>(depth)?, engine.stream.alloc::<f32>(depth)?);
        let (pixels, slab, channels, groups) = (pixels as u64, slab as u64, depth as u32, groups as u32);
        let mut statistics = engine.stream.queue.launch_builder(&engine.kernels.norm_statistics);
        statistics.arg(x.memory()?).arg(&*self.weight).arg(bias).arg(&scale).arg(&shift);
        statistics.arg(moments).arg(&*ended).arg(&pixels).arg(&slab);
        statistics.arg(&channels).arg(&groups).arg(&per_group).arg(&eps);
        // SAFETY: the map, the coefficients and the moments are as large as these numbers say, and a block's shared memory
        // has a mean and squares for each channel of each row of threads.
        unsafe { statistics.launch(launch((blocks as u32, 1), rows * depth * SHARED)) }
            .map_err(driver("compute a group norm's statistics"))?;
        Ok(DeviceCoefficients { scale: Arc::new(scale), shift: Some(shift), ..norm })
    }
}

impl DeviceCoefficients {
    /// The engine whose memory they are in.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// `y = norm(x)`
    pub fn apply(&self, x: &DeviceMap, y: &mut DeviceMap) -> Result<(), CudaError> {
        self.engine.require_all([x.engine(), y.engine()])?;
        self.apply_to(x, y.reshape(x.shape())?)
    }

    /// The same, into memory of the size of x.
    pub(super) fn apply_to(&self, x: &DeviceMap, y: &CudaSlice<u8>) -> Result<(), CudaError> {
        let shape = x.shape();
        if shape.channels != self.channels {
            let channels = self.channels;
            return Err(CudaError::Shape(format!("a norm of {channels} channels for {shape}")));
        }
        let stream = &self.engine.stream;
        let vectors = elements(shape)? / EIGHT;
        let (pixels, silu) = (shape.pixels() as u64, u32::from(self.activation == Activation::Silu));
        let (channels, real) = (padded(self.channels) as u32, self.channels as u32);
        let Some(shift) = &self.shift else {
            let mut apply = stream.queue.launch_builder(&self.engine.kernels.rms_norm);
            apply.arg(x.memory()?).arg(y).arg(&*self.scale);
            apply.arg(&pixels).arg(&channels).arg(&real).arg(&silu);
            // SAFETY: both maps have so many pixels of so many channels, and each channel has its weight.
            unsafe { apply.launch(stream.each(shape.pixels() * SHARING)) }
                .map_err(driver("apply an RMS norm"))?;
            return Ok(());
        };
        let mut apply = stream.queue.launch_builder(&self.engine.kernels.norm_apply);
        apply.arg(x.memory()?).arg(y).arg(&*self.scale).arg(shift);
        apply.arg(&pixels).arg(&channels).arg(&silu);
        // SAFETY: both maps have so many pixels of so many channels, and each channel has its coefficients.
        unsafe { apply.launch(stream.each(vectors)) }.map_err(driver("apply a group norm"))?;
        Ok(())
    }
}

impl fmt::Debug for DeviceNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.grouped.is_some() { "a group norm" } else { "an RMS norm" };
        write!(f, "{name} of {} channels on {:?}", self.channels, self.engine)
    }
}
