//! Memory for kernels: aligned to pages, and kept from one use to the next.
//!
//! Mapping fresh pages for every operation costs a quarter of a second in a decode of 512². So each thread keeps the memory
//! for its current work item ([`with_scratch`]), and the owner of an operation keeps what [`Aligned::ensure`] gives.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;

use bytemuck::Zeroable;

use crate::kernels::Error;

use super::pages::Pages;

/// Floats that start at a page boundary.
#[derive(Default)]
pub struct Aligned {
    pages: Option<Pages>,
    len: usize,
}

impl Aligned {
    /// Zeros, on pages that the system maps when they are first written.
    ///
    /// # Errors
    /// [`Error::Memory`] if the system refuses the memory.
    pub fn zeroed(len: usize) -> Result<Self, Error> {
        let pages = Pages::zeroed(len).map_err(|cause| Error::memory::<f32>(len, cause))?;
        Ok(Self { pages: Some(pages), len })
    }

    /// Resizes to `len` floats of unspecified content.
    ///
    /// # Errors
    /// [`Error::Memory`] if the system refuses the memory. The old memory is freed then.
    pub fn ensure(&mut self, len: usize) -> Result<(), Error> {
        if !self.pages.as_ref().is_some_and(|pages| pages.fit(len)) {
            *self = Self::default(); // frees the old memory before it asks for more
            *self = Self::zeroed(len)?;
        }
        self.len = len;
        Ok(())
    }

    /// How many floats `ensure` can give without asking the system.
    pub fn capacity(&self) -> usize {
        self.pages.as_ref().map_or(0, |pages| pages.floats().len())
    }

    pub fn as_slice(&self) -> &[f32] {
        self.pages.as_ref().map_or(&[], |pages| &pages.floats()[..self.len])
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        self.pages.as_mut().map_or(&mut [], |pages| &mut pages.floats_mut()[..self.len])
    }
}

/// `len` zeros from the allocator, for what leaves the kernels.
///
/// # Errors
/// [`Error::Memory`] if the allocator refuses the memory.
pub fn zeros<T: Zeroable>(len: usize) -> Result<Vec<T>, Error> {
    bytemuck::allocation::try_zeroed_vec(len)
        .map_err(|()| Error::memory::<T>(len, io::ErrorKind::OutOfMemory))
}

thread_local! {
    static SCRATCH: RefCell<Aligned> = RefCell::default();
}

/// Lends `len` floats of unspecified content, the same memory each time on one thread. `work` must not call this again.
///
/// # Errors
/// [`Error::Memory`] if the system refuses the memory; `work` is not called then.
pub fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> Result<R, Error> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.ensure(len)?;
        Ok(work(scratch.as_mut_slice()))
    })
}

/// Frees the scratch memory of all threads of the current pool. A thread that is using its own keeps it.
pub fn free_scratch() {
    rayon::broadcast(|_| {
        SCRATCH.with(|scratch| {
            if let Ok(mut scratch) = scratch.try_borrow_mut() {
                *scratch = Aligned::default();
            }
        });
    });
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

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    /// More floats than any machine can address.
    const TOO_MANY: usize = 1 << 58;

    #[test]
    fn refused_memory_is_an_error() {
        let mut aligned = Aligned::zeroed(5).expect("20 bytes");
        assert_eq!(aligned.as_slice(), [0.0; 5]);
        for len in [TOO_MANY, usize::MAX] {
            let error = aligned.ensure(len).expect_err("too many");
            assert!(matches!(error, Error::Memory { bytes, .. } if bytes >= 1 << 60), "{error}");
            assert!(error.to_string().contains("smaller picture"), "{error}");
            assert_eq!((aligned.capacity(), aligned.as_slice().len()), (0, 0));
        }
        aligned.ensure(7).expect("28 bytes");
        assert_eq!(aligned.as_slice().len(), 7);
        assert!(matches!(zeros::<f64>(TOO_MANY), Err(Error::Memory { .. })));
    }

    #[test]
    fn refused_scratch_memory_ends_a_parallel_loop_with_an_error() {
        let run =
            |len| (0..64).into_par_iter().try_for_each(|_| with_scratch(len, |scratch| scratch.fill(1.0)));
        assert!(matches!(run(TOO_MANY), Err(Error::Memory { .. })));
        assert!(run(100).is_ok());
        free_scratch();
        assert!(run(100).is_ok());
    }
}
