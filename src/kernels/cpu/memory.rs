//! Memory for kernels: aligned to pages, and kept from one use to the next.
//!
//! Mapping fresh pages for every operation costs a quarter of a second in a decode of 512². So each thread keeps the memory
//! for its current work item ([`with_scratch`]), and the owner of an operation keeps what [`Aligned::ensure`] gives.

use std::cell::RefCell;
use std::marker::PhantomData;

use memmap2::MmapMut;

/// Floats that start at a page boundary.
///
/// The pages come from the system and not from the allocator, which would keep tens of megabytes after they are freed.
#[derive(Default)]
pub struct Aligned {
    pages: Option<MmapMut>,
    len: usize,
}

impl Aligned {
    /// Zeros, on pages that the system maps when they are first written.
    ///
    /// # Panics
    /// If the system refuses the memory.
    pub fn zeroed(len: usize) -> Self {
        let pages = MmapMut::map_anon(len.max(1) * size_of::<f32>());
        Self { pages: Some(pages.expect("memory for feature maps")), len }
    }

    /// Resizes to `len` floats of unspecified content.
    pub fn ensure(&mut self, len: usize) {
        if self.capacity() < len {
            *self = Self::default(); // frees the old memory before it asks for more
            *self = Self::zeroed(len);
        }
        self.len = len;
    }

    /// How many floats `ensure` can give without asking the system.
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

/// Lends `len` floats of unspecified content, the same memory each time on one thread. `work` must not call this again.
pub fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.ensure(len);
        work(scratch.as_mut_slice())
    })
}

/// A slice that several threads write concurrently, at disjoint positions.
pub struct Shared<'a, T = f32> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

// SAFETY: the method that gives access to memory is unsafe and requires disjoint use.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    pub fn len(self) -> usize {
        self.len
    }

    /// A pointer to the value at `index`; one past the end is allowed for an access of no values.
    ///
    /// # Safety
    /// No other thread may write what is read, or touch what is written, through the pointer; accesses stay in the slice.
    #[inline(always)]
    pub unsafe fn at(self, index: usize) -> *mut T {
        debug_assert!(index <= self.len, "{index} of {}", self.len);
        // SAFETY: inside the slice by contract.
        unsafe { self.start.add(index) }
    }
}
