//! All kinds of convolution through cuDNN: normalise the input, convolve with bias and residual, interleave phases, apply
//! ReLU. (cuDNN could fuse ReLU, but its ReLU turns NaN into zero, which would hide an overflow.)

use cudarc::driver::{CudaSlice, DevicePtr, PushKernelArg};

use crate::kernels::{ConvKind, FeatureMap, Shape};

use super::cudnn::{Convolution, Operands};
use super::engine::Engine;
use super::error::{CudaError, driver};
use super::filters::DeviceFilters;
use super::map::{DeviceMap, EIGHT, elements, padded};
use super::memory::launch;
use super::norm::DeviceCoefficients;

impl DeviceFilters {
    /// `y = conv(norm(x))`, with or without the norm.
    pub fn convolve(
        &self,
        x: &DeviceMap,
        norm: Option<&DeviceCoefficients>,
        y: &mut DeviceMap,
    ) -> Result<(), CudaError> {
        self.queue(x, norm, y, false)
    }

    /// `y += conv(norm(x))`, with or without the norm.
    pub fn convolve_add(
        &self,
        x: &DeviceMap,
        norm: Option<&DeviceCoefficients>,
        y: &mut DeviceMap,
    ) -> Result<(), CudaError> {
        self.queue(x, norm, y, true)
    }

    fn queue(
        &self,
        x: &DeviceMap,
        norm: Option<&DeviceCoefficients>,
        y: &mut DeviceMap,
        add: bool,
    ) -> Result<(), CudaError> {
        let engine = &*self.engine;
        let shape = self.check(x.shape(), y.shape(), add)?;
        let engines = [x.engine(), y.engine()].into_iter().chain(norm.map(DeviceCoefficients::engine));
        engine.require_all(engines)?;
        let convolution = self.convolution(x.shape());
        let scratch = &mut *engine.scratch();
        // In the model no upsampling norms its input, so both uses can share the first buffer.
        let [shared, other] = &mut scratch.buffers;
        let (for_norm, for_phases) =
            if self.kind == ConvKind::Up2 { (other, shared) } else { (shared, other) };
        let input = match norm {
            Some(norm) => {
                let bytes = elements(x.shape())? * engine.precision.bytes();
                let normed = for_norm.ensure(&engine.stream, bytes)?;
                norm.apply_to(x, normed)?;
                normed
            }
            None => x.memory()?,
        };
        let output = y.reshape(shape)?;
        let target = match self.kind {
            ConvKind::Up2 => {
                let Shape { height, width, .. } = x.shape();
                let phases = Shape::new(convolution.c_out, height + 1, width + 1);
                for_phases.ensure(&engine.stream, elements(phases)? * engine.precision.bytes())?
            }
            _ => output,
        };
        let at = |memory: &CudaSlice<u8>| memory.device_ptr(&engine.stream.queue).0;
        let operands = Operands {
            input: at(input),
            filters: at(&self.weight),
            bias: at(&self.bias),
            output: at(target),
            add,
        };
        // SAFETY: the memory was allocated for these shapes above, and is used on the engine's stream only.
        let with_bias = unsafe { scratch.cudnn.run(&convolution, &operands) }?;
        if !with_bias {
            self.add_bias(engine, target, &convolution)?;
        }
        if self.kind == ConvKind::Up2 {
            interleave(engine, target, output, shape)?;
        }
        if self.relu {
            relu(engine, output, shape)?;
        }
        Ok(())
    }

    /// The output's shape.
    fn check(&self, x: Shape, y: Shape, add: bool) -> Result<Shape, CudaError> {
        let Self { kind, c_in, c_out, .. } = *self;
        kind.check(x, c_in).map_err(|e| CudaError::Shape(e.to_string()))?;
        let shape = kind.output(x, c_out);
        if add && (y != shape || kind == ConvKind::Up2) {
            return Err(CudaError::Shape(format!("{kind:?} to {shape} cannot be added to a map of {y}")));
        }
        Ok(shape)
    }

    fn add_bias(&self, engine: &Engine, map: &CudaSlice<u8>, of: &Convolution) -> Result<(), CudaError> {
        let channels = of.c_out as u32;
        let pixels = of.output().pixels();
        let mut launch = engine.stream.queue.launch_builder(&engine.kernels.add_bias);
        let count = pixels as u64;
        launch.arg(map).arg(&self.wide_bias).arg(&count).arg(&channels);
        // SAFETY: the map has this number of pixels and channels, with one bias per channel.
        unsafe { launch.launch(engine.stream.each(pixels * of.c_out)) }.map_err(driver("add biases"))?;
        Ok(())
    }
}

/// Phases `[h/2 + 1][w/2 + 1][4][channels]` → a map of this shape.
fn interleave(
    engine: &Engine,
    phases: &CudaSlice<u8>,
    map: &CudaSlice<u8>,
    shape: Shape,
) -> Result<(), CudaError> {
    let stream = &engine.stream;
    let channels = padded(shape.channels);
    let (height, width) = (shape.height as u32 / 2, shape.width as u32 / 2);
    let line = shape.width * channels / EIGHT;
    let rows = shape.height.min(stream.most_blocks()).min(65535) as u32;
    let across = stream.each(line).grid_dim.0;
    let channels = channels as u32;
    let mut interleave = stream.queue.launch_builder(&engine.kernels.interleave);
    interleave.arg(phases).arg(map).arg(&height).arg(&width).arg(&channels);
    // SAFETY: both were allocated for these sizes.
    unsafe { interleave.launch(launch((across, rows), 0)) }.map_err(driver("interleave phases"))?;
    Ok(())
}

/// Applies ReLU to a map of this shape, in place.
fn relu(engine: &Engine, map: &CudaSlice<u8>, shape: Shape) -> Result<(), CudaError> {
    let stream = &engine.stream;
    let eights = elements(shape)? / EIGHT;
    let count = eights as u32;
    let mut relu = stream.queue.launch_builder(&engine.kernels.relu);
    relu.arg(map).arg(&count);
    // SAFETY: the map has so many vectors of eight channels.
    unsafe { relu.launch(stream.each(eights)) }.map_err(driver("apply ReLU"))?;
    Ok(())
}
