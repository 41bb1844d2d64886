//! Devices: which to compute on, and in which precision.
//!
//! A program that knows its device takes a backend and passes it to the model: [`Cpu`], or `Cuda` with the feature `cuda`.
//! A program that chooses at run time uses [`Device`], which also checks a CUDA device before its first use.
//!
//! | file | what |
//! | --- | --- |
//! | `fault` | what an error of a device means for the next attempt |
//! | `self_check` | a CUDA device against the CPU |

mod fault;
#[cfg(feature = "cuda")]
mod self_check;

use std::str::FromStr;

use crate::model::{self, Config, DecodeLatents, EncodePictures, Parameters};

pub use fault::Fault;
#[cfg(feature = "cuda")]
pub use self_check::SelfCheck;

#[cfg(feature = "cuda")]
pub use crate::kernels::cuda::{Cuda, CudaError, DeviceInfo, Library, devices as cuda_devices};
pub use crate::kernels::{Backend, Cpu, Error, Level, LevelError, Precision, Shape};

/// A choice of device, as `--device` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device if the build supports CUDA, and the machine has one that passes its self-check; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device, by its number.
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
                .ok_or_else(|| format!("unknown device `{other}`: use auto, cpu, cuda or cuda:N")),
        }
    }
}

/// A backend that was chosen at run time. Cheap to clone; clones share their memory.
#[derive(Debug, Clone)]
pub enum Device {
    /// The CPU.
    Cpu(Cpu),
    /// A CUDA device.
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
}

impl Device {
    /// Starts the device. `precision` is the precision to compute in; the default is f16 on a CUDA device. `Auto` always
    /// finds a device. Also returns notes about the choice for the user.
    ///
    /// The first use of a CUDA device in a precision by a build takes a little longer: a small model is computed there and on the
    /// CPU (`SelfCheck`). A device whose results differ is not available. The outcome is remembered in the user's cache folder.
    ///
    /// # Errors
    /// A message for the user if a device, or a level of the CPU, was chosen by name and is not available.
    pub fn choose(choice: DeviceChoice, precision: Option<Precision>) -> Result<(Self, Vec<String>), String> {
        let on_cpu = |reason: Option<String>| {
            let cpu = Cpu::new().map_err(|e| e.to_string())?;
            let no_effect = precision.filter(|&precision| precision != Precision::F32).map(|precision| {
                format!("the CPU computes in f32 only; --dtype {precision} has no effect there")
            });
            Ok((Self::Cpu(cpu), reason.into_iter().chain(no_effect).collect()))
        };
        match choice {
            DeviceChoice::Cpu => on_cpu(None),
            DeviceChoice::Cuda(n) => Ok((Self::cuda(n, precision)?, Vec::new())),
            DeviceChoice::Auto if !cfg!(feature = "cuda") => on_cpu(None),
            DeviceChoice::Auto => match Self::cuda(0, precision) {
                Ok(cuda) => Ok((cuda, Vec::new())),
                Err(reason) => on_cpu(Some(format!("computing on the CPU: {reason}"))),
            },
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda(index: usize, precision: Option<Precision>) -> Result<Self, String> {
        Self::checked_cuda(index, precision.unwrap_or(Precision::F16)).map_err(|e| e.to_string())
    }

    #[cfg(feature = "cuda")]
    fn checked_cuda(index: usize, precision: Precision) -> Result<Self, Error> {
        let cuda = Cuda::new(index, precision)?;
        SelfCheck::require(&cuda)?;
        Ok(Self::Cuda(cuda))
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(_index: usize, _precision: Option<Precision>) -> Result<Self, String> {
        Err("this build computes on the CPU only: build with `--features cuda`, or use --device cpu".into())
    }

    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu(_))
    }

    /// The precision that it computes in.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu(cpu) => cpu.precision(),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.precision(),
        }
    }

    /// The same device in another precision, which is checked as in [`Device::choose`]. The CPU has only f32.
    ///
    /// # Errors
    /// If the device cannot be started again, or fails its self-check.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn in_precision(&self, precision: Precision) -> Result<Self, Error> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) if cuda.precision() != precision => Self::checked_cuda(cuda.index(), precision),
            _ => Ok(self.clone()),
        }
    }

    /// The precision that [`Device::remember_precision`] noted for `model`.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn remembered_precision(&self, model: &str) -> Option<Precision> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => {
                let name = cuda.recall(&format!("precision of {model}"))?;
                [Precision::F16, Precision::Bf16, Precision::F32].into_iter().find(|p| p.name() == name)
            }
        }
    }

    /// Notes, for later runs of this build on this device, that less safe precisions than `precision` are too narrow for `model`.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn remember_precision(&self, model: &str, precision: Precision) {
        match self {
            Self::Cpu(_) => {}
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.remember(&format!("precision of {model}"), precision.name()),
        }
    }

    /// Frees the memory that is kept for later pictures. Models keep their weights.
    pub fn release(&self) {
        match self {
            Self::Cpu(cpu) => cpu.release(),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.release(),
        }
    }

    /// Loads the encoding half of a model. Errors are those of [`model::picture_encoder`].
    pub fn picture_encoder(
        &self,
        config: &Config,
        tensors: Parameters,
    ) -> candle_core::Result<Box<dyn EncodePictures>> {
        match self {
            Self::Cpu(cpu) => model::picture_encoder(cpu, config, tensors),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => model::picture_encoder(cuda, config, tensors),
        }
    }

    /// Loads the decoding half of a model. Errors are those of [`model::latent_decoder`].
    pub fn latent_decoder(
        &self,
        config: &Config,
        tensors: Parameters,
    ) -> candle_core::Result<Box<dyn DecodeLatents>> {
        match self {
            Self::Cpu(cpu) => model::latent_decoder(cpu, config, tensors),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => model::latent_decoder(cuda, config, tensors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_on_any_device_are_shared_by_threads() {
        fn shared<T: Send + Sync + ?Sized>() {}
        shared::<dyn EncodePictures>();
        shared::<dyn DecodeLatents>();
    }

    #[test]
    fn devices_have_numbers() {
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong:?}");
        }
    }
}
