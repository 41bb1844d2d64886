//! Vector code written once.
//!
//! A kernel is generic over [`Simd`], which is a *token*: a value whose existence proves that the machine has the
//! instructions. [`Level`](super::level::Level) creates the tokens, and its `run` calls the level's one `#[target_feature]`
//! function, into which the kernel is inlined. For that to work, every function from there to an intrinsic is
//! `#[inline(always)]`.
//!
//! CONTRIBUTING.md describes how to add a level.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod math;
pub mod portable;

/// Channels in one block of a map: one cache line of f32, and a whole number of vectors at every level.
pub const BLOCK: usize = 16;

/// A set of f32 vector instructions.
pub trait Simd: Copy + Send + Sync {
    /// A vector of `LANES` floats.
    type V: Copy;
    /// Floats in a vector; divides [`BLOCK`].
    const LANES: usize;
    /// Rows of the matrix product's micro-kernel, with two vectors a row: 8, 6 or 4.
    const ROWS: usize;

    /// The same float in all lanes.
    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `p` is readable for `LANES` floats; any alignment will do.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `p` is writable for `LANES` floats; any alignment will do.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one in each lane; `b` if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger one in each lane; `b` if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c − a·b`
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `v · 2ⁿ`, where n is the integer in the low bits of `n`'s representation (as computed by `exp`).
    fn scale_exponent(self, v: Self::V, n: Self::V) -> Self::V;

    /// Prefetches a cache line that will be read soon. Any address will do.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    /// Zero in all lanes.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }
}

/// Work for a level to run: a closure that is generic over its argument, which Rust's closures cannot be.
pub trait Kernel {
    /// The result.
    type Output;
    /// Does the work. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
