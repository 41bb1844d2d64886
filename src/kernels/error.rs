//! Why an operation failed, on any backend.

use std::io;

use super::Precision;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Shapes that do not fit each other.
    #[error("{0}")]
    Shape(String),
    /// The result has NaN or infinite values.
    #[error("the result in {precision} has NaN or infinite values{}", match precision.safer() {
        Some(safer) => format!(": try --dtype {safer}"),
        None => String::new(),
    })]
    NotFinite {
        /// The precision of the computation.
        precision: Precision,
    },
    /// The system refuses memory of the host.
    #[error("cannot allocate {:.1} MB of memory ({cause}): use a smaller picture, or crop it", *bytes as f64 / 1e6)]
    Memory {
        /// How much was asked for.
        bytes: u64,
        /// The reason.
        cause: io::Error,
    },
    /// A parameter cannot be read.
    #[error("{0}")]
    Parameter(String),
    /// The device failed; the error is the backend's own.
    #[error(transparent)]
    Device(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The system refuses memory for `len` values.
    pub(super) fn memory<T>(len: usize, cause: impl Into<io::Error>) -> Self {
        Self::Memory { bytes: (len as u64).saturating_mul(size_of::<T>() as u64), cause: cause.into() }
    }

    /// Finds the kernels' error in an error of the model.
    pub fn find(error: &candle_core::Error) -> Option<&Self> {
        match error {
            candle_core::Error::Cuda(e) => e.downcast_ref(),
            candle_core::Error::Context { inner, .. }
            | candle_core::Error::WithPath { inner, .. }
            | candle_core::Error::WithBacktrace { inner, .. } => Self::find(inner),
            _ => None,
        }
    }

    /// Takes the kernels' error out of an error of the model. Any other error becomes a device's, with its message.
    #[cfg(feature = "cuda")]
    pub(crate) fn from_model(error: candle_core::Error) -> Self {
        match error {
            candle_core::Error::Cuda(e) if e.is::<Self>() => match e.downcast() {
                Ok(e) => *e,
                Err(e) => Self::Device(e),
            },
            candle_core::Error::Context { inner, .. }
            | candle_core::Error::WithPath { inner, .. }
            | candle_core::Error::WithBacktrace { inner, .. } => Self::from_model(*inner),
            other => Self::Device(other.to_string().into()),
        }
    }
}

/// The model's errors are candle's. Of its variants, `Cuda` alone carries a typed error.
impl From<Error> for candle_core::Error {
    fn from(e: Error) -> Self {
        Self::Cuda(Box::new(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_in_the_models_errors() {
        let error = Error::NotFinite { precision: Precision::F16 };
        let carried = candle_core::Error::from(error).context("decoder");
        assert!(matches!(Error::find(&carried), Some(Error::NotFinite { precision: Precision::F16 })));
        assert!(carried.to_string().contains("--dtype bf16"), "{carried}");
        assert!(Error::find(&candle_core::Error::msg("else")).is_none());
    }
}
