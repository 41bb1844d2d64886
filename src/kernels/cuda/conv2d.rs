//! Convolution through cuDNN, in all kinds: norm of the input, convolution with bias and residual, phases apart.

use super::Norm;
use super::cudnn::{Convolution, Operands};
use super::engine::{Engine, driver, launch};
use super::error::CudaError;
use super::filters::Filters;
use super::map::{EIGHT, elements, padded};
use crate::kernels::conv2d::Kind;
use crate::kernels::feature_map::{FeatureMap, Shape};
use cudarc::driver::{CudaSlice, DevicePtr, PushKernelArg};

impl Filters {
    /// `y = conv(norm(x))`, or `y += conv(norm(x))`; with or without the norm.
    pub fn convolve(
        &self,
        x: &FeatureMap,
        norm: Option<&Norm>,
        y: &mut FeatureMap,
        add: bool,
    ) -> Result<(), CudaError> {
        let engine = &*self.engine;
        let shape = self.check(x.shape, y.shape, add)?;
        let convolution = self.convolution(x.shape);
        let work = &mut *engine.work();
        // In a model no upsampling norms its input: both uses share the first.
        let [shared, other] = &mut work.scratch;
        let (for_norm, for_phases) = if self.kind == Kind::Up2 { (other, shared) } else { (shared, other) };
        let input = match norm {
            Some(norm) => {
                let normed = for_norm.ensure(engine, elements(x.shape)? * engine.element().bytes())?;
                norm.apply_to(x, normed)?;
                normed
            }
            None => x.on_device()?,
        };
        let output = y.reshape_on_device(shape)?;
        let target = match self.kind {
            Kind::Up2 => {
                let phases = Shape::new(convolution.c_out, x.shape.height + 1, x.shape.width + 1);
                for_phases.ensure(engine, elements(phases)? * engine.element().bytes())?
            }
            _ => output,
        };
        let at = |memory: &CudaSlice<u8>| memory.device_ptr(&engine.stream).0;
        let operands = Operands {
            input: at(input),
            filters: at(&self.weight),
            bias: at(&self.bias),
            output: at(target),
            add,
        };
        // SAFETY: the memory was made for these shapes above, and is used on the engine's stream only.
        let with_bias = unsafe { work.cudnn.run(engine, &convolution, &operands) }?;
        if !with_bias {
            self.add_bias(engine, target, &convolution)?;
        }
        if self.kind == Kind::Up2 {
            interleave(engine, target, output, shape)?;
        }
        Ok(())
    }

    /// The shape that comes out.
    fn check(&self, x: Shape, y: Shape, add: bool) -> Result<Shape, CudaError> {
        let Self { kind, c_in, c_out, .. } = *self;
        kind.check(x, c_in).map_err(|e| CudaError::Shape(e.to_string()))?;
        let shape = kind.output(x, c_out);
        if add && (y != shape || kind == Kind::Up2) {
            return Err(CudaError::Shape(format!("{kind:?} to {shape} cannot be added to a map of {y}")));
        }
        Ok(shape)
    }

    fn add_bias(&self, engine: &Engine, map: &CudaSlice<u8>, of: &Convolution) -> Result<(), CudaError> {
        let channels = of.c_out as u32;
        let pixels = of.output().pixels();
        let mut launch = engine.stream.launch_builder(&engine.kernels.add_bias);
        let count = pixels as u64;
        launch.arg(map).arg(&self.wide_bias).arg(&count).arg(&channels);
        // SAFETY: the map has so many pixels of so many channels, and there is a bias for each channel.
        unsafe { launch.launch(engine.each(pixels * of.c_out)) }.map_err(driver("add biases"))?;
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
    let channels = padded(shape.channels);
    let (height, width) = (shape.height as u32 / 2, shape.width as u32 / 2);
    let line = shape.width * channels / EIGHT;
    let rows = shape.height.min(engine.most_blocks()).min(65535) as u32;
    let across = engine.each(line).grid_dim.0;
    let channels = channels as u32;
    let mut interleave = engine.stream.launch_builder(&engine.kernels.interleave);
    interleave.arg(phases).arg(map).arg(&height).arg(&width).arg(&channels);
    // SAFETY: both were made for these sizes.
    unsafe { interleave.launch(launch((across, rows), 0)) }.map_err(driver("interleave phases"))?;
    Ok(())
}
