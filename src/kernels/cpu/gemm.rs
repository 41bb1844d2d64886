//! The matrix product that all operations use.
//!
//! All three matrices are blocked by 16 columns, so that a host map is such a matrix (its rows are pixels):
//!
//! ```text
//! A  [depth/16][rows][16]      C  [columns/16][rows][16]      B  [columns/16][depth][16], a "panel" per block
//! ```
//!
//! The micro-kernel keeps a tile of `ROWS` rows of C by two vectors in registers. For each step of the depth it loads two
//! vectors of B and broadcasts one float of A per row, at constant offsets. With strides of A and C that are an odd number
//! of cache lines, the blocks do not compete for the same cache sets.

use super::level::Level;
use super::simd::{BLOCK, Kernel, Simd};

/// Products are summed in slices of this depth: a panel of B is then 16 KiB and stays in the first-level cache.
const DEPTH: usize = 256;

/// Cache lines of the next panel that a tile prefetches in 16 steps of the depth. It prefetches the rows of the next tile
/// as well, since hardware prefetchers stop at 4 KiB pages.
const AHEAD: usize = 2;

/// Multiplications that one thread does in about the time that it takes to wake another.
const ALONE: usize = 1 << 21;

/// The least number of work items to give to another thread, of items with so many multiplications each.
pub fn least_items(multiplications: usize) -> usize {
    (ALONE / multiplications.max(1)).max(1)
}

/// C = A·B, or C += A·B. Strides are the distances between blocks of 16 columns, in floats.
#[derive(Clone, Copy)]
pub struct Product {
    pub a: *const f32,
    pub a_stride: usize,
    pub b: *const f32,
    pub b_stride: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    pub rows: usize,
    pub depth: usize,
    pub panels: usize,
    pub accumulate: bool,
    /// The next product's B, for prefetching; any pointer will do.
    pub then: *const f32,
}

impl Product {
    /// # Safety
    /// With the sizes in `self`: A and B are readable, C is writable (and readable if it accumulates), and C overlaps
    /// neither.
    pub unsafe fn run(self, level: Level) {
        level.run(Multiply(self));
    }
}

/// Constructed only by `Product::run`, under that function's contract.
struct Multiply(Product);

impl Kernel for Multiply {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const { assert!(matches!(S::ROWS, 4 | 6 | 8) && BLOCK.is_multiple_of(S::LANES)) };
        // SAFETY: the contract of `Product::run`.
        unsafe {
            match S::ROWS {
                8 => by_depth::<S, 8>(s, self.0),
                6 => by_depth::<S, 6>(s, self.0),
                _ => by_depth::<S, 4>(s, self.0),
            }
        }
    }
}

/// The product, slice by slice of the depth.
///
/// # Safety
/// As for [`Product::run`].
#[inline(always)]
unsafe fn by_depth<S: Simd, const R: usize>(s: S, product: Product) {
    let mut done = 0;
    while done < product.depth {
        let depth = (product.depth - done).min(DEPTH);
        // SAFETY: a part of the caller's product; `done` is a multiple of 16.
        unsafe {
            let part = Product {
                a: product.a.add(done / BLOCK * product.a_stride),
                b: product.b.add(done * BLOCK),
                depth,
                accumulate: product.accumulate || done > 0,
                then: if done + depth < product.depth {
                    product.b.add((done + depth) * BLOCK)
                } else {
                    product.then
                },
                ..product
            };
            by_columns::<S, R>(s, &part);
        }
        done += depth;
    }
}

/// Computes a slice, two vectors of columns at a time.
///
/// # Safety
/// As for [`Product::run`].
#[inline(always)]
unsafe fn by_columns<S: Simd, const R: usize>(s: S, product: &Product) {
    let vectors = product.panels * (BLOCK / S::LANES);
    let mut vector = 0;
    // SAFETY: `vector` stays below the number of vectors in a row of C.
    unsafe {
        while vector + 2 <= vectors {
            by_rows::<S, R, 2>(s, product, vector);
            vector += 2;
        }
        if vector < vectors {
            by_rows::<S, R, 1>(s, product, vector);
        }
    }
}

/// Computes `N` vectors of columns from `vector` on, one tile of rows at a time.
///
/// # Safety
/// As for [`Product::run`]; `vector + N` is at most the number of vectors in a row of C.
#[inline(always)]
unsafe fn by_rows<S: Simd, const R: usize, const N: usize>(s: S, product: &Product, vector: usize) {
    let mut row = 0;
    // SAFETY: `row` and the rows of each tile stay within the product's rows.
    unsafe {
        while row < product.rows {
            let left = product.rows - row;
            // For eight rows, two tiles of four are faster than six rows and two.
            if left >= R && !(R == 6 && left == 8) {
                tile::<S, R, N>(s, product, row, vector);
                row += R;
            } else if left >= 4 {
                tile::<S, 4, N>(s, product, row, vector);
                row += 4;
            } else {
                tile::<S, 1, N>(s, product, row, vector);
                row += 1;
            }
        }
    }
}

/// Computes `R` rows of C from `row` on, and `N` vectors of each from `vector` on.
///
/// # Safety
/// As for `by_rows`; `row + R` is at most the number of rows.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const N: usize>(s: S, product: &Product, row: usize, vector: usize) {
    let per_panel = BLOCK / S::LANES;
    let panel = |j: usize| (vector + j) / per_panel;
    let lane = |j: usize| (vector + j) % per_panel * S::LANES;
    // SAFETY: rows, vectors and depth are inside the matrices by the caller's contract.
    unsafe {
        let mut a = product.a.add(row * BLOCK);
        let mut b = [product.b; N];
        let mut c = [product.c; N];
        for j in 0..N {
            b[j] = product.b.add(panel(j) * product.b_stride + lane(j));
            c[j] = product.c.add(panel(j) * product.c_stride + lane(j) + row * BLOCK);
        }
        let mut sums = [[s.zero(); N]; R];
        let mut ahead =
            next_panel(product, panel(N - 1)).wrapping_add(row * product.depth / product.rows * BLOCK);
        for _ in 0..product.depth / BLOCK {
            for r in 0..R {
                s.prefetch(a.wrapping_add((R + r) * BLOCK));
            }
            for line in 0..AHEAD {
                s.prefetch(ahead.wrapping_add(line * BLOCK));
            }
            ahead = ahead.wrapping_add(AHEAD * BLOCK);
            for quarter in 0..4 {
                for k in 0..4 {
                    step(s, a.add(4 * quarter + k), b.map(|b| b.add((4 * quarter + k) * BLOCK)), &mut sums);
                }
            }
            a = a.wrapping_add(product.a_stride);
            b = b.map(|b| b.wrapping_add(BLOCK * BLOCK));
        }
        for k in 0..product.depth % BLOCK {
            step(s, a.add(k), b.map(|b| b.add(k * BLOCK)), &mut sums);
        }
        for (r, sums) in sums.iter().enumerate() {
            for j in 0..N {
                let to = c[j].add(r * BLOCK);
                let sum = if product.accumulate { s.add(sums[j], s.load(to)) } else { sums[j] };
                s.store(to, sum);
            }
        }
    }
}

/// Returns the panel after `panel`.
#[inline(always)]
fn next_panel(product: &Product, panel: usize) -> *const f32 {
    if panel + 1 < product.panels {
        product.b.wrapping_add((panel + 1) * product.b_stride)
    } else {
        product.then
    }
}

/// One step of the depth: adds `A[r]`·B to row r of the tile.
///
/// # Safety
/// `a` is readable at `R` places, `BLOCK` floats apart, and each of `b` for a vector.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const N: usize>(
    s: S,
    a: *const f32,
    b: [*const f32; N],
    sums: &mut [[S::V; N]; R],
) {
    // SAFETY: the caller's pointers are at this step's column of A and row of B.
    unsafe {
        let mut row = [s.zero(); N];
        for j in 0..N {
            row[j] = s.load(b[j]);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let a = s.splat(*a.add(r * BLOCK));
            for j in 0..N {
                sums[j] = s.fma(a, row[j], sums[j]);
            }
        }
    }
}
