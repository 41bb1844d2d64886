//! Memory that kernels work in: aligned to pages, and kept from one use to the next.
//!
//! Mapping fresh pages for every operation costs a quarter of a second in a decode of 512²; hence [`with_scratch`]
//! for what one thread needs while it works on one item, and [`Aligned::ensure`] for what an operation's owner keeps.

use memmap2::MmapMut;
use std::cell::RefCell;
use std::marker::PhantomData;

/// Floats, the first of them at the start of a page.
///
/// They are pages of their own and not the allocator's, which keeps what is given back: tens of megabytes here.
#[derive(Default)]
pub struct Aligned {
    pages: Option<MmapMut>,
    len: usize,
}

impl Aligned {
    /// Zeros, on pages that the system maps when they are written.
    ///
    /// # Panics
    /// If the system has no such memory left to promise.
    pub fn zeroed(len: usize) -> Self {
        let pages = MmapMut::map_anon(len.max(1) * size_of::<f32>());
        Self { pages: Some(pages.expect("memory for feature maps")), len }
    }

    /// Makes room for `len` floats; what they hold is unspecified.
    pub fn ensure(&mut self, len: usize) {
        if self.capacity() < len {
            *self = Self::default(); // the old memory goes back before the new is asked for
            *self = Self::zeroed(len);
        }
        self.len = len;
    }

    /// The most floats that `ensure` gives without asking the system.
    pub fn capacity(&self) -> usize {
        self.pages.as_ref().map_or(0, |pages| pages.len() / size_of::<f32>())
    }

    pub fn as_slice(&self) -> &[f32] {
        self.pages.as_ref().map_or(&[], |pages| &bytemuck::cast_slice(pages)[..self.len])
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        self.pages.as_mut().map_or(&mut [], |pages| &mut bytemuck::cast_slice_mut(pages)[..self.len])
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
