//! Errors of CUDA, with advice.

use std::fmt;

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;

use crate::kernels::{Error, Precision};

/// Why a CUDA device cannot compute.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CudaError {
    /// A library that the system's loader does not find.
    #[error("cannot find {0}: {advice}", advice = .0.advice())]
    LibraryMissing(Library),
    /// A cuDNN older than its current interface.
    #[error("cuDNN {found} is too old: version 9 is required; {}", Library::Cudnn.advice())]
    CudnnTooOld {
        /// Its version number.
        found: usize,
    },
    /// A driver without a device.
    #[error("this machine has no CUDA device: use --device cpu")]
    NoDevice,
    /// A device number out of range.
    #[error("no device cuda:{index}: this machine has {count}, numbered from 0")]
    NoSuchDevice {
        /// The requested number.
        index: usize,
        /// The number of devices.
        count: usize,
    },
    /// A device without tensor cores for bf16.
    #[error(
        "{name} has compute capability {}.{}, but 8.0 (Ampere, 2020) or newer is required: use --device cpu",
        capability.0, capability.1
    )]
    DeviceTooOld {
        /// Its name.
        name: String,
        /// Major and minor.
        capability: (u32, u32),
    },
    /// A compiler that is newer than the driver.
    #[error(
        "the driver supports CUDA {}.{}, but NVRTC is from CUDA {}.{}: update the driver, or install the NVRTC of CUDA {}",
        driver.0, driver.1, compiler.0, compiler.1, driver.0
    )]
    DriverTooOld {
        /// Major and minor.
        driver: (u32, u32),
        /// Major and minor.
        compiler: (u32, u32),
    },
    /// The device has too little free memory.
    #[error(
        "cuda:{device} has {:.2} GB of {:.2} GB of memory free, and {:.2} GB more are needed: \
         use a smaller picture, a half-precision --dtype or --device cpu, or close other programs on the device",
        gigabytes(free),
        gigabytes(total),
        gigabytes(asked)
    )]
    OutOfMemory {
        /// The device's number.
        device: usize,
        /// Bytes to be allocated.
        asked: usize,
        /// Free bytes.
        free: usize,
        /// All bytes.
        total: usize,
    },
    /// A library has too little memory for its own work.
    #[error(
        "{library} failed to {action} for lack of memory: \
         use a smaller picture or --device cpu, or close other programs on the device"
    )]
    NoMemoryFor {
        /// The library.
        library: &'static str,
        /// What was attempted.
        action: &'static str,
    },
    /// More elements than the CUDA kernels can count.
    #[error("{shape} has 2³¹ elements or more on the device: use a smaller picture, or --device cpu")]
    TooLarge {
        /// The feature map.
        shape: String,
    },
    /// NVRTC cannot compile the kernels.
    #[error("the CUDA kernels do not compile for {architecture} with NVRTC {}.{} (a newer one may support the device): {log}", version.0, version.1)]
    Compile {
        /// The architecture, such as `sm_80`.
        architecture: String,
        /// NVRTC's, major and minor.
        version: (u32, u32),
        /// NVRTC's log.
        log: String,
    },
    /// The driver reports an error.
    #[error("CUDA failed to {action}: {reason}")]
    Driver {
        /// What was attempted.
        action: &'static str,
        /// The driver's message.
        reason: String,
    },
    /// cuDNN reports an error.
    #[error("cuDNN failed to {action}: {reason}")]
    Cudnn {
        /// What was attempted.
        action: &'static str,
        /// cuDNN's message.
        reason: String,
    },
    /// The device's results differ from the CPU's.
    #[error(
        "cuda:{device} failed its self-check in {precision}: the results differ from the CPU's by {difference:.1e} \
         (limit {bound:.0e}): use --device cpu; `vae doctor` repeats the check"
    )]
    SelfCheck {
        /// The device's number.
        device: usize,
        /// The precision of the computation.
        precision: Precision,
        /// The relative difference.
        difference: f64,
        /// The largest difference that passes.
        bound: f64,
    },
    /// Incompatible shapes.
    #[error("{0}")]
    Shape(String),
    /// The result has NaN or infinite values.
    #[error("the result in {precision} has NaN or infinite values")]
    NotFinite {
        /// The precision of the computation.
        precision: Precision,
    },
}

/// A library that has to be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// The driver's own.
    Driver,
    /// The run-time compiler.
    Nvrtc,
    /// The library of convolutions.
    Cudnn,
}

impl Library {
    /// How to install it.
    fn advice(self) -> &'static str {
        match self {
            Self::Driver => "install NVIDIA's driver, or use --device cpu",
            Self::Nvrtc => {
                "install it (`pip install nvidia-cuda-nvrtc`, or your system's CUDA toolkit) and put its folder on LD_LIBRARY_PATH"
            }
            Self::Cudnn => {
                "install it (`pip install nvidia-cudnn-cu13`, or your system's package; it requires cuBLAS) and put its folder on LD_LIBRARY_PATH"
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

/// Converts what the driver reports about an action.
pub fn driver(action: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |e| {
        if e.0 == CUDA_ERROR_OUT_OF_MEMORY {
            return CudaError::NoMemoryFor { library: "CUDA", action };
        }
        let (name, text) = (e.error_name(), e.error_string());
        let reason = match (name, text) {
            (Ok(name), Ok(text)) => format!("{} ({})", text.to_string_lossy(), name.to_string_lossy()),
            _ => e.to_string(),
        };
        CudaError::Driver { action, reason }
    }
}

/// As every backend reports it.
impl From<CudaError> for Error {
    fn from(e: CudaError) -> Self {
        match e {
            CudaError::NotFinite { precision } => Self::NotFinite { precision },
            CudaError::Shape(reason) => Self::Shape(reason),
            other => Self::Device(Box::new(other)),
        }
    }
}
