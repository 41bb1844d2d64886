//! Where to compute, and in which precision.

use std::str::FromStr;

use crate::kernels::SharedWorkspace;
use crate::kernels::cuda::{CudaError, Element, Engine};

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// CUDA where the build and the machine have it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// One CUDA device, by its number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("`{other}` is no device: auto, cpu, cuda, or cuda:N")),
        }
    }
}

/// What is there to compute with.
#[derive(Debug)]
pub struct Compute {
    /// A workspace on the device.
    pub space: SharedWorkspace,
    /// What a person should know about the choice.
    pub notes: Vec<String>,
}

impl Compute {
    /// Finds the device; `element` is the precision to compute in, f16 on a CUDA device where none is asked for. `Auto`
    /// always finds one.
    ///
    /// # Errors
    /// A text for people, where a device or a level of the CPU is asked for by name and is not there.
    pub fn choose(device: DeviceChoice, element: Option<Element>) -> Result<Self, String> {
        let engine = |n| Engine::new(n, element.unwrap_or(Element::F16));
        let on_cpu = |why: Option<String>| {
            let space = SharedWorkspace::new().map_err(|e| e.to_string())?;
            let no_effect = element.filter(|&element| element != Element::F32).map(|element| {
                format!("the CPU computes in f32 only; --dtype {element} has no effect there")
            });
            Ok(Self { space, notes: why.into_iter().chain(no_effect).collect() })
        };
        let on_cuda = |engine| Self { space: SharedWorkspace::on(engine), notes: Vec::new() };
        match device {
            DeviceChoice::Cpu => on_cpu(None),
            DeviceChoice::Cuda(n) => engine(n).map(on_cuda).map_err(|e| e.to_string()),
            DeviceChoice::Auto => match engine(0) {
                Ok(engine) => Ok(on_cuda(engine)),
                Err(CudaError::NotBuilt) => on_cpu(None),
                Err(e) => on_cpu(Some(format!("computing on the CPU: {e}"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_numbers() {
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong:?}");
        }
    }
}
