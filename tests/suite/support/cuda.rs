//! The CUDA device of this machine, if it has one.

use vae::kernels::cuda::{CudaError, Element, Engine};

/// All precisions, with the relative error that one rounding of every input, weight and output may make.
pub const PRECISIONS: [(Element, f64); 3] =
    [(Element::F32, 2e-6), (Element::F16, 1.5e-3), (Element::Bf16, 1.2e-2)];

/// The first device in this precision; where there is none, says so.
pub fn engine(element: Element) -> Option<Engine> {
    match Engine::new(0, element) {
        Ok(engine) => Some(engine),
        Err(e @ (CudaError::NotBuilt | CudaError::LibraryMissing(_) | CudaError::NoDevice)) => {
            println!("skipped: no CUDA device ({e})");
            None
        }
        Err(e) => panic!("{e}"),
    }
}
