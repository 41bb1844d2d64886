//! Attention with one head over all positions: `x += softmax(q·kᵀ/√c)·v·W_outᵀ + b_out`, in chunks of queries.
//!
//! The projections of v and of the output are folded into one: with v = h·W_vᵀ + b_v, and because the rows of the softmax sum
//! to 1, the added term is `softmax(…)·h·(W_out·W_v)ᵀ + W_out·b_v + b_out`.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaView, LaunchConfig, PushKernelArg};
use rayon::prelude::*;

use crate::kernels::FeatureMap;

use super::engine::Engine;
use super::error::{CudaError, driver};
use super::map::{DeviceMap, EIGHT, elements, padded};
use super::memory::launch;

/// Rows and columns that a block computes.
const TILE: usize = 128;

/// The projections of v and of the output, folded into one, in the device's memory.
pub struct FoldedProjections {
    engine: Arc<Engine>,
    /// `[c][c]`
    weight: CudaSlice<u8>,
    bias: CudaSlice<f32>,
    channels: usize,
}

/// A projection's weight `[c][c]` and bias `[c]`.
pub type Projection<'a> = (&'a [f32], &'a [f32]);

impl FoldedProjections {
    /// Folds the projections and copies them to the device.
    pub fn upload(engine: &Arc<Engine>, v: Projection, out: Projection) -> Result<Self, CudaError> {
        let channels = v.1.len();
        let fits = |(weight, bias): Projection| weight.len() == channels * channels && bias.len() == channels;
        if !fits(v) || !fits(out) {
            return Err(CudaError::Shape(format!("projections do not all have {channels} channels")));
        }
        let (weight, bias) = fold(v, out);
        let (engine, weight, bias) =
            (engine.clone(), engine.upload_narrow(&weight)?, engine.stream.upload(&bias)?);
        Ok(Self { engine, weight, bias, channels })
    }

    /// `x += to_out(softmax(q·kᵀ/√c)·to_v(h))`
    pub fn attend(&self, [q, k, h]: [&DeviceMap; 3], x: &mut DeviceMap) -> Result<(), CudaError> {
        let engine = &*self.engine;
        engine.require_all([q, k, h, x].map(DeviceMap::engine))?;
        let (stream, shape) = (&engine.stream, x.shape());
        if shape.channels != self.channels || [q, k, h].iter().any(|map| map.shape() != shape) {
            let (q, k, h) = (q.shape(), k.shape(), h.shape());
            return Err(CudaError::Shape(format!("attention over q {q}, k {k} and h {h}, added to {shape}")));
        }
        elements(shape)?;
        let bytes = engine.precision.bytes();
        let (tokens, depth) = (shape.pixels(), padded(shape.channels));
        let pitch = tokens.next_multiple_of(EIGHT);
        let rows = rows_at_a_time(engine, tokens, depth);

        let scratch = engine.scratch(); // until everything is queued
        let values = stream.alloc::<u8>(depth * pitch * bytes)?;
        let scores = stream.alloc::<f32>(rows * pitch)?;
        let weights = stream.alloc::<u8>(rows * pitch * bytes)?;
        let totals = stream.alloc::<f32>(rows)?;

        let (count, pitch, channels) = (tokens as u32, pitch as u32, depth as u32);
        let mut across = stream.queue.launch_builder(&engine.kernels.values_across);
        across.arg(&self.weight).arg(h.memory()?).arg(&values).arg(&count).arg(&pitch).arg(&channels);
        // SAFETY: the matrices are [channels][channels], [count][channels] and [channels][pitch].
        unsafe { across.launch(tiles(depth, pitch as usize)) }.map_err(driver("project values"))?;

        let scale = 1.0 / (shape.channels as f32).sqrt();
        for first in (0..tokens).step_by(rows) {
            let chunk = rows.min(tokens - first);
            let at = first * depth * bytes..(first + chunk) * depth * bytes;
            let (queries, target): (CudaView<u8>, CudaView<u8>) =
                (q.memory()?.slice(at.clone()), x.memory()?.slice(at));
            let rows = chunk as u32;

            let mut product = stream.queue.launch_builder(&engine.kernels.scores);
            product.arg(&queries).arg(k.memory()?).arg(&scores).arg(&scale);
            product.arg(&rows).arg(&count).arg(&pitch).arg(&channels);
            // SAFETY: the matrices are [rows][channels], [count][channels] and [rows][pitch].
            unsafe { product.launch(tiles(chunk, tokens)) }.map_err(driver("multiply queries and keys"))?;

            let mut softmax = stream.queue.launch_builder(&engine.kernels.exponentials);
            softmax.arg(&scores).arg(&weights).arg(&totals).arg(&count).arg(&pitch);
            // SAFETY: both matrices are [rows][pitch]; each block processes one row.
            unsafe { softmax.launch(launch((rows, 1), 0)) }.map_err(driver("compute a softmax"))?;

            let mut attend = stream.queue.launch_builder(&engine.kernels.attend);
            attend.arg(&weights).arg(&values).arg(&totals).arg(&self.bias).arg(&target);
            attend.arg(&rows).arg(&pitch).arg(&channels);
            // SAFETY: the matrices are [rows][pitch], [channels][pitch] and [rows][channels], with one total per row and
            // one bias per channel.
            unsafe { attend.launch(tiles(chunk, depth)) }.map_err(driver("sum values"))?;
        }
        drop(scratch);
        Ok(())
    }
}

impl fmt::Debug for FoldedProjections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folded projections of {} channels on {:?}", self.channels, self.engine)
    }
}

/// As many queries as keep the device busy, but whose scores and weights take at most a quarter of the free memory.
fn rows_at_a_time(engine: &Engine, tokens: usize, depth: usize) -> usize {
    let busy = (2 * engine.stream.multiprocessors).div_ceil(depth.div_ceil(TILE)); // two blocks per multiprocessor
    let row = tokens.next_multiple_of(EIGHT) * (size_of::<f32>() + engine.precision.bytes());
    let fits = engine.stream.free() / 4 / (TILE * row);
    (TILE * busy.min(fits).max(1)).min(tokens)
}

/// A launch with a block for each tile of a matrix.
fn tiles(rows: usize, columns: usize) -> LaunchConfig {
    launch((columns.div_ceil(TILE) as u32, rows.div_ceil(TILE) as u32), 0)
}

/// W_out·W_v, padded, and W_out·b_v + b_out, padded.
fn fold(v: Projection, out: Projection) -> (Vec<f32>, Vec<f32>) {
    let channels = v.1.len();
    let depth = padded(channels);
    let mut weight = vec![0.0; depth * depth];
    weight.par_chunks_exact_mut(depth).zip(out.0.par_chunks_exact(channels)).for_each(|(row, out)| {
        for (&w, v) in out.iter().zip(v.0.chunks_exact(channels)) {
            row.iter_mut().zip(v).for_each(|(sum, v)| *sum += w * v);
        }
    });
    let through = |out: &[f32]| out.iter().zip(v.1).map(|(w, b)| w * b).sum::<f32>();
    let mut bias: Vec<f32> = out.0.chunks_exact(channels).zip(out.1).map(|(w, b)| through(w) + b).collect();
    bias.resize(depth, 0.0);
    (weight, bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_projections_become_one() {
        let v: Projection = (&[1., 2., 3., 4.], &[10., 20.]);
        let out: Projection = (&[5., 6., 7., 8.], &[1., 2.]);
        let (weight, bias) = fold(v, out);
        assert_eq!((weight[0], weight[1], weight[8], weight[9]), (23., 34., 31., 46.));
        assert_eq!(bias[..3], [5. * 10. + 6. * 20. + 1., 7. * 10. + 8. * 20. + 2., 0.]);
        assert_eq!((weight.len(), weight.iter().sum::<f32>()), (64, 134.));
    }
}
