//! Where to compute, and in which precision.

use std::str::FromStr;

use candle_core::{DType, Device};

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

/// What `--dtype` asks for: `None` is `auto`.
pub type DtypeChoice = Option<DType>;

/// A device that is there, and the precision to compute in.
#[derive(Debug, Clone)]
pub struct Compute {
    /// The device.
    pub device: Device,
    /// f32 on the CPU.
    pub dtype: DType,
    /// What a person should know about the choice.
    pub note: Option<String>,
}

impl Compute {
    /// Finds the device. `Auto` always finds one.
    ///
    /// # Errors
    /// A text for people, where a device is asked for by name and is not there.
    pub fn choose(device: DeviceChoice, dtype: DtypeChoice) -> Result<Self, String> {
        if let DeviceChoice::Cuda(n) = device {
            return Err(format!(
                "there is no device cuda:{n}: this build computes on the CPU only; use --device cpu"
            ));
        }
        let note = dtype.filter(|&dtype| dtype != DType::F32).map(|dtype| {
            format!("the CPU computes in f32 only; --dtype {} has no effect there", dtype.as_str())
        });
        Ok(Self { device: Device::Cpu, dtype: DType::F32, note })
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
