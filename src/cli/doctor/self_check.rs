//! The self-check of each CUDA device in each precision, which runs before a device's first use: what is remembered of it, and its
//! outcome now.

use serde::Serialize;

use super::devices::TestedDevice;

/// The outcome of one device in one precision.
#[derive(Serialize)]
pub struct CheckedPrecision {
    pub device: String,
    pub precision: &'static str,
    pub passed: bool,
    /// Whether it passed when it was checked last, if this build remembers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_before: Option<bool>,
    /// The difference from the CPU's values, relative to their rms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// The largest difference that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Why the check did not finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Checks every CUDA device again, and remembers the outcomes.
#[cfg(not(feature = "cuda"))]
pub fn run(_: &[TestedDevice]) -> Vec<CheckedPrecision> {
    Vec::new()
}

/// Checks every CUDA device again, and remembers the outcomes.
#[cfg(feature = "cuda")]
pub fn run(devices: &[TestedDevice]) -> Vec<CheckedPrecision> {
    use vae::device::Device;
    use vae::device::Precision::{Bf16, F16, F32};

    let indices = devices.iter().filter_map(|device| match &device.device {
        Device::Cuda(cuda) => Some(cuda.index()),
        Device::Cpu(_) => None,
    });
    let all = indices.flat_map(|index| [F16, Bf16, F32].map(|precision| (index, precision)));
    all.map(|(index, precision)| CheckedPrecision::of(index, precision)).collect()
}

#[cfg(feature = "cuda")]
impl CheckedPrecision {
    fn of(index: usize, precision: vae::device::Precision) -> Self {
        use vae::device::{Cuda, SelfCheck};

        let mut passed_before = None;
        let check = Cuda::new(index, precision).map_err(|e| e.to_string()).and_then(|cuda| {
            passed_before = SelfCheck::remembered(&cuda).map(|check| check.passed());
            SelfCheck::run(&cuda).map_err(|e| e.to_string())
        });
        let outcome = check.as_ref().ok();
        Self {
            device: format!("cuda:{index}"),
            precision: precision.name(),
            passed: outcome.is_some_and(SelfCheck::passed),
            passed_before,
            difference: outcome.map(|check| check.difference),
            bound: outcome.map(SelfCheck::bound),
            error: check.err(),
        }
    }
}
