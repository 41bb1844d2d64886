//! Memory that kernels work in: aligned to cache lines, and kept from one use to the next.
//!
//! Mapping fresh pages for every operation costs a quarter of a second in a decode of 512²; hence [`with_scratch`]
//! for what one thread needs while it works on one item, and [`Aligned::ensure`] for what an operation's owner keeps.

use std::cell::RefCell;
use std::marker::PhantomData;

/// Floats in a cache line of 64 bytes.
const LINE: usize = 16;

/// Floats, the first of them at the start of a cache line.
#[derive(Default)]
pub struct Aligned {
    floats: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn zeroed(len: usize) -> Self {
        // `vec!` of zeros takes pages from the system that are zero already and not yet mapped.
        let floats = vec![0.0; len + LINE];
        let start = floats.as_ptr().align_offset(4 * LINE);
        debug_assert!(start < LINE);
        Self { floats, start, len }
    }

    /// Makes room for `len` floats; what they hold is unspecified.
    pub fn ensure(&mut self, len: usize) {
        if self.capacity() < len || self.floats.is_empty() {
            *self = Self::default(); // the old memory goes back before the new is asked for
            *self = Self::zeroed(len);
        }
        self.len = len;
    }

    /// The most floats that `ensure` gives without asking the system.
    pub fn capacity(&self) -> usize {
        self.floats.len().saturating_sub(LINE)
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.floats[self.start..self.start + self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.floats[self.start..self.start + self.len]
    }
}

thread_local! {
    static SCRATCH: RefCell<Aligned> = RefCell::default();
}

/// Lends `len` floats of unspecified content, the same memory each time on one thread. `work` must not come back here.
pub fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.ensure(len);
        work(scratch.as_mut_slice())
    })
}

/// A slice that several threads write at once, each to places of its own.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: the methods that touch memory are unsafe and ask for disjoint use.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// A pointer to the float at `index`.
    ///
    /// # Safety
    /// What is read through the pointer is written by no other thread, what is written is used by none, and all of it
    /// lies in the slice.
    #[inline(always)]
    pub unsafe fn at(self, index: usize) -> *mut f32 {
        debug_assert!(index <= self.len, "{index} of {}", self.len);
        // SAFETY: inside the slice by contract.
        unsafe { self.start.add(index) }
    }
}
