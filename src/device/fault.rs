//! What an error of a device means for the next attempt.

use crate::kernels::{Error, Precision};

/// Why a device did not compute a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// NaN or infinite values in this precision. A safer precision may have finite ones.
    NotFinite(Precision),
    /// Too little memory at the moment.
    OutOfMemory,
    /// More elements than the device's kernels can count.
    TooLarge,
    /// The device, its driver or a library failed. Later work may fail too: some errors of CUDA last until the process ends.
    Failed,
}

impl Fault {
    /// Finds the fault of a device in an error of the model. Other errors, such as a missing tensor, are `None`.
    pub fn of(error: &candle_core::Error) -> Option<Self> {
        match Error::find(error)? {
            Error::NotFinite { precision } => Some(Self::NotFinite(*precision)),
            Error::Device(e) => Some(Self::of_device(&**e)),
            _ => None,
        }
    }

    #[cfg(feature = "cuda")]
    fn of_device(error: &(dyn std::error::Error + 'static)) -> Self {
        use crate::kernels::cuda::CudaError;

        match error.downcast_ref() {
            Some(CudaError::OutOfMemory { .. } | CudaError::NoMemoryFor { .. }) => Self::OutOfMemory,
            Some(CudaError::TooLarge { .. }) => Self::TooLarge,
            _ => Self::Failed,
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn of_device(_: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed
    }
}
