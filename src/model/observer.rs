//! Who watches the model at work.

use std::fmt;

use crate::kernels::FeatureMap;

/// Is shown what every block made, as soon as it is made; a picture at a time.
///
/// The model computes nothing for it: an observer who wants statistics takes them from the map.
pub trait Observer {
    /// The block called `name` in the checkpoint (`encoder.down_blocks.0`) made `map`.
    fn block(&mut self, name: fmt::Arguments, map: &FeatureMap);
}

/// Nobody watches.
impl Observer for () {
    fn block(&mut self, _: fmt::Arguments, _: &FeatureMap) {}
}
