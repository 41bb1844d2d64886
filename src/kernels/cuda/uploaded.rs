//! What a layer keeps on the device once it has been there.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// A layer's weights as the device reads them, made at the first use. Clones share them.
pub struct Uploaded<T>(OnceLock<Arc<T>>);

impl<T> Uploaded<T> {
    /// What is there already, or what `make` makes.
    pub fn get_or_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let made = Arc::new(make()?);
        Ok(self.0.get_or_init(|| made))
    }
}

impl<T> Clone for Uploaded<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Uploaded<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> fmt::Debug for Uploaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "uploaded" } else { "not uploaded" })
    }
}
