//! What can go wrong with CUDA, and what to do about it.

use super::Element;
use std::fmt;

/// Why a CUDA device did not compute.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CudaError {
    /// The program was built for CPUs.
    #[error("this build computes on the CPU only: build with `--features cuda`, or use --device cpu")]
    NotBuilt,
    /// A library that the system's loader does not find.
    #[error("{0} is not found: {advice}", advice = .0.advice())]
    LibraryMissing(Library),
    /// cuDNN from before its current interface.
    #[error("cuDNN {found} is too old: version 9 is needed; {}", Library::Cudnn.advice())]
    CudnnTooOld {
        /// Its version, as it counts.
        found: usize,
    },
    /// A driver, and nothing that it drives.
    #[error("this machine has no CUDA device: use --device cpu")]
    NoDevice,
    /// A number that no device has.
    #[error("there is no device cuda:{index}: this machine has {count}, counted from 0")]
    NoSuchDevice {
        /// The number.
        index: usize,
        /// How many devices there are.
        count: usize,
    },
    /// A device from before tensor cores for bf16.
    #[error(
        "{name} has compute capability {}.{}, and 8.0 (Ampere, 2020) or newer is needed: use --device cpu",
        capability.0, capability.1
    )]
    DeviceTooOld {
        /// What its maker calls it.
        name: String,
        /// Major and minor.
        capability: (u32, u32),
    },
    /// A compiler whose programs the driver cannot read.
    #[error(
        "the driver understands CUDA {}.{}, and NVRTC is of CUDA {}.{}: update the driver, or install NVRTC of CUDA {}",
        driver.0, driver.1, compiler.0, compiler.1, driver.0
    )]
    DriverTooOld {
        /// Major and minor.
        driver: (u32, u32),
        /// Major and minor.
        compiler: (u32, u32),
    },
    /// The device's memory does not suffice.
    #[error(
        "cuda:{device} has {:.2} GB of memory free of {:.2} GB, and {:.2} GB more are needed: \
         use a smaller picture or --device cpu, or close what else uses the device",
        gigabytes(free),
        gigabytes(total),
        gigabytes(asked)
    )]
    OutOfMemory {
        /// The device's number.
        device: usize,
        /// Bytes that were asked for.
        asked: usize,
        /// Bytes that were free.
        free: usize,
        /// Bytes that it has.
        total: usize,
    },
    /// More elements than CUDA kernels count.
    #[error("{shape} has 2³¹ elements or more on the device: use a smaller picture, or --device cpu")]
    TooLarge {
        /// Of the feature map.
        shape: String,
    },
    /// NVRTC refused the kernels.
    #[error("the CUDA kernels do not compile for {architecture} with NVRTC {}.{} (a newer one may know the device): {log}", version.0, version.1)]
    Compile {
        /// `sm_80` or the like.
        architecture: String,
        /// Of NVRTC, major and minor.
        version: (u32, u32),
        /// What NVRTC said.
        log: String,
    },
    /// The driver reports an error.
    #[error("CUDA failed to {action}: {reason}")]
    Driver {
        /// What was to be done.
        action: &'static str,
        /// What the driver says.
        reason: String,
    },
    /// cuDNN reports an error.
    #[error("cuDNN failed to {action}: {reason}")]
    Cudnn {
        /// What was to be done.
        action: &'static str,
        /// What cuDNN says.
        reason: String,
    },
    /// Shapes that do not fit each other.
    #[error("{0}")]
    Shape(String),
    /// The result has values that are no numbers.
    #[error("the result in {element} has NaN or infinite values{}", match element.safer() {
        Some(safer) => format!(": --dtype {safer} may help"),
        None => String::new(),
    })]
    NotFinite {
        /// The precision that was computed in.
        element: Element,
    },
}

/// What has to be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// Comes with the driver.
    Driver,
    /// The compiler.
    Nvrtc,
    /// The convolutions.
    Cudnn,
}

impl Library {
    /// How to get it.
    fn advice(self) -> &'static str {
        match self {
            Self::Driver => "install NVIDIA's driver, or use --device cpu",
            Self::Nvrtc => {
                "install it (`pip install nvidia-cuda-nvrtc`, or your system's CUDA toolkit) and put its folder on LD_LIBRARY_PATH"
            }
            Self::Cudnn => {
                "install it (`pip install nvidia-cudnn-cu13`, or your system's package; and cuBLAS, which it needs) and put its folder on LD_LIBRARY_PATH"
            }
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "the CUDA driver's library (libcuda.so.1)",
            Self::Nvrtc => "NVIDIA's run-time compiler (libnvrtc.so)",
            Self::Cudnn => "cuDNN (libcudnn.so.9)",
        })
    }
}

fn gigabytes(bytes: &usize) -> f64 {
    *bytes as f64 / 1e9
}

/// As the model's errors carry it; [`CudaError::of`] finds it there.
impl From<CudaError> for candle_core::Error {
    fn from(e: CudaError) -> Self {
        Self::Cuda(Box::new(e))
    }
}

impl CudaError {
    /// The error of this kind that ended the model's work, if it was one.
    pub fn of(e: &candle_core::Error) -> Option<&Self> {
        match e {
            candle_core::Error::Cuda(e) => e.downcast_ref(),
            candle_core::Error::Context { inner, .. }
            | candle_core::Error::WithPath { inner, .. }
            | candle_core::Error::WithBacktrace { inner, .. } => Self::of(inner),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_s_errors_tell_what_the_device_said() {
        let error = CudaError::NotFinite { element: Element::F16 };
        let carried = candle_core::Error::from(error.clone()).context("decoder");
        assert_eq!(CudaError::of(&carried), Some(&error));
        assert!(carried.to_string().contains("--dtype bf16"), "{carried}");
        assert_eq!(CudaError::of(&candle_core::Error::msg("else")), None);
    }
}
