//! The definition of convolution, in f64.

use rayon::prelude::*;

use crate::kernels::{ConvKind, Shape};

/// `[ci, h, w]` planes → `[co, h', w']` planes; `weight` is `[co][ci][taps]`.
pub fn conv2d(kind: ConvKind, input: &[f64], shape: Shape, weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let (scale, stride, before, side) = match kind {
        ConvKind::Same => (1, 1, 1, 3),
        ConvKind::Up2 => (2, 1, 1, 3),
        ConvKind::Down2 => (1, 2, 0, 3),
        ConvKind::Down2Around => (1, 2, 1, 3),
        ConvKind::Point => (1, 1, 0, 1),
    };
    let (padded, width) = pad(input, shape, scale, before);
    let out = kind.output(shape, bias.len());
    let mut output = vec![0.0; out.channels * out.pixels()];
    output.par_chunks_exact_mut(out.pixels()).enumerate().for_each(|(o, plane)| {
        plane.fill(f64::from(bias[o]));
        for (i, input) in padded.iter().enumerate() {
            let taps = &weight[(o * shape.channels + i) * side * side..][..side * side];
            for (tap, &w) in taps.iter().enumerate() {
                for (y, row) in plane.chunks_exact_mut(out.width).enumerate() {
                    let input = &input[(y * stride + tap / side) * width + tap % side..];
                    let input = input.iter().step_by(stride);
                    row.iter_mut().zip(input).for_each(|(y, &x)| *y += f64::from(w) * x);
                }
            }
        }
    });
    output
}

/// Scales each plane up by repeating every pixel `scale` times along both axes, and pads it with `before` zeros on each
/// side and one more at the end. Returns the planes and their width.
fn pad(input: &[f64], shape: Shape, scale: usize, before: usize) -> (Vec<Vec<f64>>, usize) {
    let (height, width) = (shape.height * scale + before + 1, shape.width * scale + before + 1);
    let pad = |plane: &[f64]| {
        let mut padded = vec![0.0; height * width];
        for y in 0..shape.height * scale {
            for x in 0..shape.width * scale {
                padded[(y + before) * width + x + before] = plane[y / scale * shape.width + x / scale];
            }
        }
        padded
    };
    (input.chunks_exact(shape.pixels()).map(pad).collect(), width)
}
