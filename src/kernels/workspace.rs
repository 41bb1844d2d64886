//! Memory that is reused from one operation to the next. Mapping new memory each time would take longer than some operations.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, FeatureMap, Shape};

/// The backend and the memory for one pass through the network. The memory returns to its pool on drop.
pub struct Workspace<'a, B: Backend> {
    backend: &'a B,
    memory: KeptMemory<B>,
}

struct KeptMemory<B: Backend> {
    spare: Vec<B::Map>,
    scratch: B::Scratch,
}

/// The memory of workspaces that are not in use: at most one per simultaneous pass. Cheap to clone.
pub struct WorkspacePool<B: Backend>(Arc<Mutex<Vec<KeptMemory<B>>>>);

impl<'a, B: Backend> Workspace<'a, B> {
    /// Takes the largest workspace from the backend's pool, or an empty one.
    pub fn checkout(backend: &'a B) -> Self {
        let mut pool = backend.workspaces().lock();
        let largest = (0..pool.len()).max_by_key(|&i| pool[i].capacity());
        let memory = largest.map(|i| pool.swap_remove(i)).unwrap_or_default();
        Self { backend, memory }
    }

    /// The backend that computes.
    pub fn backend(&self) -> &'a B {
        self.backend
    }

    /// Scratch memory for one operation.
    pub fn scratch(&mut self) -> &mut B::Scratch {
        &mut self.memory.scratch
    }

    /// Returns a map to write to, if possible with the memory of one that was given back.
    ///
    /// Reuses the largest spare map, so that two large maps alternate through the whole network and fit the next picture.
    /// If even that is too small, frees all spare maps before the new map's memory is allocated.
    pub fn take(&mut self, shape: Shape) -> B::Map {
        let spare = &mut self.memory.spare;
        let largest = (0..spare.len()).max_by_key(|&i| spare[i].capacity());
        match largest.filter(|&i| spare[i].fits(shape)) {
            Some(i) => spare.swap_remove(i),
            None => {
                spare.clear();
                self.backend.empty_map()
            }
        }
    }

    /// Takes back a map that is no longer needed.
    pub fn give(&mut self, map: B::Map) {
        self.memory.spare.push(map);
    }
}

impl<B: Backend> Drop for Workspace<'_, B> {
    fn drop(&mut self) {
        self.backend.workspaces().lock().push(mem::take(&mut self.memory));
    }
}

impl<B: Backend> WorkspacePool<B> {
    /// Frees the memory.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Locked only while a workspace is taken or returned, never while something is computed.
    fn lock(&self) -> MutexGuard<'_, Vec<KeptMemory<B>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> KeptMemory<B> {
    fn capacity(&self) -> usize {
        self.spare.iter().map(B::Map::capacity).sum()
    }
}

impl<B: Backend> Default for KeptMemory<B> {
    fn default() -> Self {
        Self { spare: Vec::new(), scratch: B::Scratch::default() }
    }
}

impl<B: Backend> Default for WorkspacePool<B> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<B: Backend> Clone for WorkspacePool<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Cpu, Level};

    #[test]
    #[cfg_attr(vae_heap_maps, ignore = "such maps have no spare memory")]
    fn two_large_maps_alternate() {
        let cpu = Cpu::at(Level::detect());
        let mut space = Workspace::checkout(&cpu);
        let (small, large) = (Shape::new(16, 8, 8), Shape::new(16, 32, 32));
        let [mut a, mut b] = [space.take(small), space.take(large)];
        a.reshape(small).expect("memory");
        b.reshape(large).expect("memory");
        let memory = b.data().as_ptr();
        space.give(b);
        space.give(a);
        let again = space.take(small);
        assert_eq!(again.capacity(), large.floats(), "the largest buffer is reused first");
        space.give(again);
        drop(space);
        let mut space = Workspace::checkout(&cpu);
        let mut last = space.take(large);
        last.reshape(large).expect("memory");
        assert_eq!(last.data().as_ptr(), memory, "the next workspace has the same memory");
        space.take(Shape::new(16, 64, 64));
        assert!(space.memory.spare.is_empty(), "maps that are too small are freed");
    }

    #[test]
    fn released_memory_is_freed() {
        let cpu = Cpu::at(Level::detect());
        let shape = Shape::new(16, 8, 8);
        let mut space = Workspace::checkout(&cpu);
        let mut map = space.take(shape);
        map.reshape(shape).expect("memory");
        space.give(map);
        drop(space);
        cpu.release();
        assert_eq!(Workspace::checkout(&cpu).take(shape).capacity(), 0);
    }
}
