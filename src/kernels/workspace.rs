//! Memory that stays from one operation to the next: mapping it anew each time costs more than some operations.

use super::conv2d::Filters;
use super::cuda::Engine;
use super::feature_map::{FeatureMap, Shape};
use super::level::{Level, LevelError};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one picture's way through the network needs.
pub struct Workspace {
    /// The instructions to use on the CPU.
    pub level: Level,
    /// The CUDA device that computes instead, if one does.
    pub engine: Option<Arc<Engine>>,
    /// The filters of the convolution at work.
    pub filters: Filters,
    spare: Vec<FeatureMap>,
}

impl Workspace {
    /// An empty one.
    pub fn new(level: Level) -> Self {
        Self { level, engine: None, filters: Filters::default(), spare: Vec::new() }
    }

    /// A map to write where the workspace computes, with memory of one that was given back.
    ///
    /// The largest is taken: two large maps then take turns through the whole network, and fit the next picture as well.
    /// Where it is too small all are, and their memory goes back to the system before the new map's is asked for.
    pub fn take(&mut self, shape: Shape) -> FeatureMap {
        let largest = (0..self.spare.len()).max_by_key(|&i| self.spare[i].capacity());
        match largest.filter(|&i| self.spare[i].has_room(shape)) {
            Some(i) => self.spare.swap_remove(i),
            None => {
                self.spare.clear();
                self.engine.as_ref().map_or_else(FeatureMap::default, Engine::map)
            }
        }
    }

    /// Gives back a map that is not needed any more.
    pub fn give(&mut self, map: FeatureMap) {
        self.spare.push(map);
    }
}

/// A workspace in which the pictures of several models take turns. Cheap to clone.
#[derive(Clone)]
pub struct SharedWorkspace(Arc<Mutex<Workspace>>);

impl SharedWorkspace {
    /// An empty one, at the level that `VAE_CPU` names or else the machine's best.
    pub fn new() -> Result<Self, LevelError> {
        Ok(Self::at(Level::from_env()?))
    }

    /// An empty one.
    pub fn at(level: Level) -> Self {
        Self(Arc::new(Mutex::new(Workspace::new(level))))
    }

    /// An empty one that computes on a CUDA device.
    pub fn on(engine: Engine) -> Self {
        let mut space = Workspace::new(Level::detect());
        space.engine = Some(Arc::new(engine));
        Self(Arc::new(Mutex::new(space)))
    }

    /// The CUDA device that computes, if one does.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.lock().engine.clone()
    }

    /// Gives back all memory to the system and to the device, for other work; it is taken anew when it is needed.
    pub fn release(&self) {
        let mut space = self.lock();
        space.spare.clear();
        space.filters = Filters::default();
        if let Some(engine) = &space.engine {
            engine.release();
        }
    }

    /// The workspace, once nobody else uses it.
    pub fn lock(&self) -> MutexGuard<'_, Workspace> {
        // A panic elsewhere may have lost maps, which are made anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedWorkspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a workspace")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_large_maps_take_turns() {
        let mut space = Workspace::new(Level::detect());
        let (small, large) = (Shape::new(16, 8, 8), Shape::new(16, 32, 32));
        let [mut a, mut b] = [space.take(small), space.take(large)];
        a.reshape(small);
        b.reshape(large);
        let memory = b.data().as_ptr();
        space.give(b);
        space.give(a);
        let again = space.take(small);
        assert_eq!(again.capacity(), large.floats(), "the largest goes first");
        space.give(again);
        let mut last = space.take(large);
        last.reshape(large);
        assert_eq!(last.data().as_ptr(), memory);
        space.take(Shape::new(16, 64, 64));
        assert!(space.spare.is_empty(), "what is too small goes back to the system");
    }
}
