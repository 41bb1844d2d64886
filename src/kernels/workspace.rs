//! Memory that stays from one operation to the next: mapping it anew each time costs more than some operations.

use super::attention::Attention;
use super::conv2d::Filters;
use super::feature_map::FeatureMap;
use super::level::{Level, LevelError};

/// What one picture's way through the network needs.
pub struct Workspace {
    /// The instructions to use.
    pub level: Level,
    /// The filters of the convolution at work.
    pub filters: Filters,
    /// The keys of the attention at work.
    pub attention: Attention,
    spare: Vec<FeatureMap>,
}

impl Workspace {
    /// An empty one, at the level that `VAE_CPU` names or else the machine's best.
    pub fn new() -> Result<Self, LevelError> {
        let (filters, attention) = (Filters::default(), Attention::default());
        Ok(Self { level: Level::from_env()?, filters, attention, spare: Vec::new() })
    }

    /// A map to write, with memory of one that was given back.
    pub fn take(&mut self) -> FeatureMap {
        self.spare.pop().unwrap_or_default()
    }

    /// Gives back a map that is not needed any more.
    pub fn give(&mut self, map: FeatureMap) {
        self.spare.push(map);
    }
}
