//! Zeroed memory that starts at a page boundary.
//!
//! It comes from the system and not from the allocator, which would keep tens of megabytes after they are freed. With
//! `--cfg vae_heap_maps` it comes from the allocator, so that the address sanitizer finds accesses beyond its end.

#[cfg(vae_heap_maps)]
pub use heap::Pages;
#[cfg(not(vae_heap_maps))]
pub use mapped::Pages;

#[cfg(not(vae_heap_maps))]
mod mapped {
    use std::io;

    use memmap2::MmapMut;

    /// At least one float.
    pub struct Pages(MmapMut);

    impl Pages {
        /// Zeros, on pages that the system maps when they are first written.
        pub fn zeroed(floats: usize) -> io::Result<Self> {
            let bytes = floats.max(1).checked_mul(size_of::<f32>()).ok_or(io::ErrorKind::OutOfMemory)?;
            MmapMut::map_anon(bytes).map(Self)
        }

        /// Whether an allocation of `needed` floats can be replaced by this one.
        pub fn fit(&self, needed: usize) -> bool {
            self.floats().len() >= needed
        }

        pub fn floats(&self) -> &[f32] {
            bytemuck::cast_slice(&self.0)
        }

        pub fn floats_mut(&mut self) -> &mut [f32] {
            bytemuck::cast_slice_mut(&mut self.0)
        }
    }
}

#[cfg(vae_heap_maps)]
mod heap {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::io;
    use std::ptr::NonNull;
    use std::slice;

    /// The alignment of pages.
    const PAGE: usize = 4096;

    /// At least one float, in an allocation of exactly this length.
    pub struct Pages {
        start: NonNull<f32>,
        floats: usize,
    }

    // SAFETY: the memory belongs to this value alone, like that of a `Vec`.
    unsafe impl Send for Pages {}
    // SAFETY: as above.
    unsafe impl Sync for Pages {}

    impl Pages {
        fn layout(floats: usize) -> io::Result<Layout> {
            let layout = Layout::array::<f32>(floats).and_then(|layout| layout.align_to(PAGE));
            layout.map_err(|_| io::ErrorKind::OutOfMemory.into())
        }

        /// Zeros.
        pub fn zeroed(floats: usize) -> io::Result<Self> {
            let floats = floats.max(1);
            // SAFETY: the layout has at least one float.
            let start = unsafe { alloc_zeroed(Self::layout(floats)?) };
            let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self { start, floats })
        }

        /// Whether an allocation of `needed` floats can be replaced by this one: the lengths must be equal, because the
        /// sanitizer does not see where in an allocation its used part ends.
        pub fn fit(&self, needed: usize) -> bool {
            self.floats == needed
        }

        pub fn floats(&self) -> &[f32] {
            // SAFETY: all floats were allocated and set to zero.
            unsafe { slice::from_raw_parts(self.start.as_ptr(), self.floats) }
        }

        pub fn floats_mut(&mut self) -> &mut [f32] {
            // SAFETY: as above.
            unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.floats) }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            if let Ok(layout) = Self::layout(self.floats) {
                // SAFETY: allocated by `zeroed` with this layout.
                unsafe { dealloc(self.start.as_ptr().cast(), layout) };
            }
        }
    }
}
