//! Vector code written once.
//!
//! A kernel is generic over [`Simd`], which is a *token*: a value whose existence proves that the machine has the
//! instructions. [`Level`](crate::kernels::level::Level) makes the tokens, and its `run` enters the one `#[target_feature]`
//! function of the level into which the kernel is inlined. For that to work every function between the entry and an
//! intrinsic is `#[inline(always)]`.
//!
//! A next level is a file here (a token that implements [`Simd`]) and a line in `level.rs`.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod math;
pub mod portable;

/// The channels in one block of an activation: one cache line of f32, a whole number of vectors at every level.
pub const BLOCK: usize = 16;

/// A set of f32 vector instructions.
pub trait Simd: Copy + Send + Sync {
    /// A vector of `LANES` floats.
    type V: Copy;
    /// Floats in a vector; divides [`BLOCK`].
    const LANES: usize;
    /// Rows that the matrix product's main register tile holds, at two vectors a row.
    const ROWS: usize;

    /// The same float in all lanes.
    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `p` is readable for `LANES` floats. No alignment is asked for.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `p` is writable for `LANES` floats. No alignment is asked for.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one, lane by lane; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger one, lane by lane; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c − a·b`
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `v · 2ⁿ`, where n is the integer in the low bits of `n`'s representation (as `exp` makes it).
    fn scale_exponent(self, v: Self::V, n: Self::V) -> Self::V;

    /// Asks for a cache line that will be read soon. Any address will do.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    /// Zero in all lanes.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }
}

/// A piece of work that some level will run; the closure that Rust cannot yet write, generic over its argument.
pub trait Kernel {
    /// What the work gives.
    type Output;
    /// Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
