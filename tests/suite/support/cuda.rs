//! The CUDA device of this machine, if it has one and the build can use it.

#[cfg(feature = "cuda")]
use vae::device::{Cuda, CudaError, Precision};

/// All precisions, with the relative error from rounding every input, weight and output once.
#[cfg(feature = "cuda")]
pub const PRECISIONS: [(Precision, f64); 3] =
    [(Precision::F32, 2e-6), (Precision::F16, 1.5e-3), (Precision::Bf16, 1.2e-2)];

/// The first device in this precision. Prints a line if there is none.
#[cfg(feature = "cuda")]
pub fn cuda(precision: Precision) -> Option<Cuda> {
    match Cuda::new(0, precision) {
        Ok(cuda) => Some(cuda),
        Err(e @ (CudaError::LibraryMissing(_) | CudaError::NoDevice)) => {
            println!("skipped: no CUDA device ({e})");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// Whether there is a device.
#[cfg(feature = "cuda")]
pub fn is_available() -> bool {
    cuda(Precision::F32).is_some()
}

/// Whether there is a device.
#[cfg(not(feature = "cuda"))]
pub fn is_available() -> bool {
    println!("skipped: this build does not support CUDA");
    false
}

/// Whether the first device is the emulated one, which can be told to fail.
#[cfg(feature = "cuda")]
pub fn is_emulated() -> bool {
    let emulated = vae::device::cuda_devices().is_ok_and(|all| all[0].name.starts_with("Emulated"));
    if !emulated {
        println!("skipped: no emulated CUDA device");
    }
    emulated
}

/// Whether the first device is the emulated one, which can be told to fail.
#[cfg(not(feature = "cuda"))]
pub fn is_emulated() -> bool {
    is_available()
}
