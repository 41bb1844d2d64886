//! Convolution with three taps on short rows, with as few multiplications as there are independent products.
//!
//! A form transforms a row of inputs into terms V and a filter into terms U, multiplies pairs of them, and combines the
//! products into a row of outputs. Nested in two dimensions it does the same to tiles. The products of many channels
//! at the same place of all tiles are a matrix product. S. Winograd, *Arithmetic Complexity of Computations* (1980); A. Lavin and
//! S. Gray, *Fast Algorithms for Convolutional Neural Networks* (2015).
//!
//! To add a form, add a type that implements [`Form`] here, and a variant of `Algorithm` in `mod.rs`.

use crate::kernels::cpu::simd::Simd;

/// The most inputs, terms or products that a form has.
pub const MOST: usize = 6;

/// One dimension of a convolution with three taps. Arrays longer than a form needs end in values that are not read.
pub trait Form: Sync {
    /// Inputs per tile.
    const INPUTS: usize;
    /// Distance between the first inputs of neighbouring tiles.
    const STEP: usize;
    /// Number of inputs of the first tile that lie before the picture.
    const BEFORE: usize;
    /// How many terms V the inputs become.
    const INPUT_TERMS: usize;
    /// How many terms U the filter becomes.
    const FILTER_TERMS: usize;
    /// Which input term is multiplied with which filter term.
    const PRODUCTS: &'static [(usize, usize)];
    const OUTPUTS: usize;

    fn transform_inputs<S: Simd>(s: S, d: [S::V; MOST]) -> [S::V; MOST];
    fn transform_filter<S: Simd>(s: S, w: [S::V; 3]) -> [S::V; MOST];
    fn combine_products<S: Simd>(s: S, m: [S::V; MOST]) -> [S::V; 4];
}

/// F(4, 3): stride 1, one input of padding on each side. Six products for four outputs.
///
/// The points are 0, ±5/8, ±3/2 and ∞. They and the constants computed from them are exact in f32, and the error is that
/// of the direct sum. With the textbook's ±1 and ±2 it is four times larger.
pub struct Same;

const A: f32 = 0.625;
const B: f32 = 1.5;
const P: f32 = A * A;
const Q: f32 = B * B;

impl Form for Same {
    const INPUTS: usize = 6;
    const STEP: usize = 4;
    const BEFORE: usize = 1;
    const INPUT_TERMS: usize = 6;
    const FILTER_TERMS: usize = 6;
    const PRODUCTS: &'static [(usize, usize)] = &[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)];
    const OUTPUTS: usize = 4;

    #[inline(always)]
    fn transform_inputs<S: Simd>(s: S, d: [S::V; MOST]) -> [S::V; MOST] {
        let (p, q, a, b) = (s.splat(P), s.splat(Q), s.splat(A), s.splat(B));
        let (pq, p_plus_q) = (s.splat(P * Q), s.splat(P + Q));
        let (t1, t2) = (s.fnma(q, d[2], d[4]), s.fnma(q, d[1], d[3]));
        let (t3, t4) = (s.fnma(p, d[2], d[4]), s.fnma(p, d[1], d[3]));
        [
            s.fma(pq, d[0], s.fnma(p_plus_q, d[2], d[4])),
            s.fma(a, t2, t1),
            s.fnma(a, t2, t1),
            s.fma(b, t4, t3),
            s.fnma(b, t4, t3),
            s.fma(pq, d[1], s.fnma(p_plus_q, d[3], d[5])),
        ]
    }

    /// U = \[w0/pq, e(±a)/(2p(p−q)), e(±b)/(2q(q−p)), w2\] with e(x) = w0 + x·w1 + x²·w2
    #[inline(always)]
    fn transform_filter<S: Simd>(s: S, w: [S::V; 3]) -> [S::V; MOST] {
        let at_a = s.splat(0.5 / (P * (P - Q)));
        let at_b = s.splat(0.5 / (Q * (Q - P)));
        let (even_a, odd_a) = (s.fma(s.splat(P), w[2], w[0]), s.mul(s.splat(A), w[1]));
        let (even_b, odd_b) = (s.fma(s.splat(Q), w[2], w[0]), s.mul(s.splat(B), w[1]));
        [
            s.mul(s.splat(1.0 / (P * Q)), w[0]),
            s.mul(at_a, s.add(even_a, odd_a)),
            s.mul(at_a, s.sub(even_a, odd_a)),
            s.mul(at_b, s.add(even_b, odd_b)),
            s.mul(at_b, s.sub(even_b, odd_b)),
            w[2],
        ]
    }

    #[inline(always)]
    fn combine_products<S: Simd>(s: S, m: [S::V; MOST]) -> [S::V; 4] {
        let (sum_a, sum_b) = (s.add(m[1], m[2]), s.add(m[3], m[4]));
        let (gap_a, gap_b) = (s.sub(m[1], m[2]), s.sub(m[3], m[4]));
        [
            s.add(m[0], s.add(sum_a, sum_b)),
            s.fma(s.splat(A), gap_a, s.mul(s.splat(B), gap_b)),
            s.fma(s.splat(P), sum_a, s.mul(s.splat(Q), sum_b)),
            s.fma(s.splat(A * P), gap_a, s.fma(s.splat(B * Q), gap_b, m[5])),
        ]
    }
}

/// Nearest-neighbour ×2 followed by stride 1, as one operation on the small picture.
///
/// Even and odd outputs are filters of two taps, \[w0, w1+w2\] and \[w0+w1, w2\], that can share input terms. Five
/// products for four outputs; in two dimensions 25 for 16, instead of 144.
pub struct Up2;

impl Form for Up2 {
    const INPUTS: usize = 4;
    const STEP: usize = 2;
    const BEFORE: usize = 1;
    const INPUT_TERMS: usize = 4;
    const FILTER_TERMS: usize = 5;
    const PRODUCTS: &'static [(usize, usize)] = &[(0, 0), (1, 1), (2, 2), (2, 3), (3, 4)];
    const OUTPUTS: usize = 4;

    #[inline(always)]
    fn transform_inputs<S: Simd>(s: S, d: [S::V; MOST]) -> [S::V; MOST] {
        let unused = d[0];
        [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[3], d[1]), unused, unused]
    }

    #[inline(always)]
    fn transform_filter<S: Simd>(s: S, w: [S::V; 3]) -> [S::V; MOST] {
        let half = s.splat(0.5);
        let (last, first) = (s.add(w[1], w[2]), s.add(w[0], w[1]));
        [
            w[0],
            s.mul(half, s.add(w[0], last)),
            s.mul(half, s.sub(w[0], last)),
            s.mul(half, s.sub(w[2], first)),
            w[2],
            w[2],
        ]
    }

    #[inline(always)]
    fn combine_products<S: Simd>(s: S, m: [S::V; MOST]) -> [S::V; 4] {
        [s.add(m[0], s.add(m[1], m[2])), s.add(m[1], m[3]), s.sub(m[1], m[2]), s.add(s.sub(m[1], m[3]), m[4])]
    }
}

/// Stride 2, one input of padding at the end, and `BEFORE` (0 or 1) at the beginning. Five products for two outputs.
///
/// The even taps are F(2, 2) on the even inputs; the odd tap is direct.
pub struct Down2<const BEFORE: usize>;

impl<const BEFORE: usize> Form for Down2<BEFORE> {
    const INPUTS: usize = 5;
    const STEP: usize = 4;
    const BEFORE: usize = BEFORE;
    const INPUT_TERMS: usize = 5;
    const FILTER_TERMS: usize = 4;
    const PRODUCTS: &'static [(usize, usize)] = &[(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)];
    const OUTPUTS: usize = 2;

    #[inline(always)]
    fn transform_inputs<S: Simd>(s: S, d: [S::V; MOST]) -> [S::V; MOST] {
        [s.sub(d[0], d[2]), d[2], s.sub(d[4], d[2]), d[1], d[3], d[3]]
    }

    #[inline(always)]
    fn transform_filter<S: Simd>(s: S, w: [S::V; 3]) -> [S::V; MOST] {
        [w[0], s.add(w[0], w[2]), w[2], w[1], w[1], w[1]]
    }

    #[inline(always)]
    fn combine_products<S: Simd>(s: S, m: [S::V; MOST]) -> [S::V; 4] {
        let first = s.add(s.add(m[0], m[1]), m[3]);
        let second = s.add(s.add(m[1], m[2]), m[4]);
        [first, second, second, second]
    }
}
