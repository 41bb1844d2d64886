//! exp, SiLU and ReLU on vectors.

use super::Simd;

/// 1.5 · 2²³: adding it rounds a small float to an integer in the low bits.
const ROUND: f32 = 12_582_912.0;
const LOG2E: f32 = std::f32::consts::LOG2_E;
/// 2^f on |f| ≤ 1/2, minimax in the relative error (1.9e-9): coefficients in ascending order.
const EXP2: [f32; 7] = [
    1.0,
    std::f32::consts::LN_2,
    0.240_226_47,
    0.055_503_29,
    0.009_618_489,
    0.001_339_993_1,
    0.000_153_458_12,
];

/// e to the power `x·sign` (`sign` is 1 or −1), for x within ±87.
///
/// x·log₂e = n + f with an integer n and |f| ≤ 1/2; eˣ = 2ⁿ · 2^f. The rounding of log₂e to f32 adds a relative error of
/// |x|·1.3e-8, and without FMA the rounding of the product |x|·6e-8.
#[inline(always)]
fn exp_signed<S: Simd>(s: S, x: S::V, sign: f32) -> S::V {
    let log2e = s.splat(LOG2E * sign);
    let rounded = s.fma(x, log2e, s.splat(ROUND));
    let minus_n = s.sub(s.splat(ROUND), rounded);
    let f = s.fma(x, log2e, minus_n);
    let mut power = s.splat(EXP2[6]);
    for &coefficient in EXP2[..6].iter().rev() {
        power = s.fma(power, f, s.splat(coefficient));
    }
    s.scale_exponent(power, rounded)
}

/// Keeps exponentials from becoming infinite or subnormal; NaN stays NaN.
#[inline(always)]
fn clamp<S: Simd>(s: S, x: S::V) -> S::V {
    s.min(s.splat(87.0), s.max(s.splat(-87.0), x))
}

/// eˣ with a relative error of about 1e-7; x is clamped to ±87.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    exp_signed(s, clamp(s, x), 1.0)
}

/// x / (1 + e⁻ˣ)
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    let decay = exp_signed(s, clamp(s, x), -1.0);
    s.div(x, s.add(s.splat(1.0), decay))
}

/// The larger of x and 0; NaN stays NaN.
#[inline(always)]
pub fn relu<S: Simd>(s: S, x: S::V) -> S::V {
    s.max(s.zero(), x)
}
