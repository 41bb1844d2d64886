//! The devices that the self-test runs on.

use vae::device::{Cpu, Device, Level};

/// The CPU and every CUDA device.
pub struct Devices {
    pub usable: Vec<TestedDevice>,
    /// Why there is no CUDA device, or why one does not work.
    pub problems: Vec<String>,
}

/// One device that works.
pub struct TestedDevice {
    pub name: String,
    /// The name and all that a bug report needs.
    pub description: String,
    pub device: Device,
}

impl Devices {
    /// Finds all devices. The CPU computes at `level`.
    pub fn find(level: Level) -> Self {
        let device = Device::Cpu(Cpu::at(level));
        let cpu = TestedDevice { name: "cpu".into(), description: "cpu".into(), device };
        #[cfg_attr(not(feature = "cuda"), expect(unused_mut))]
        let mut devices = Self { usable: vec![cpu], problems: Vec::new() };
        #[cfg(feature = "cuda")]
        devices.add_cuda();
        devices
    }

    #[cfg(feature = "cuda")]
    fn add_cuda(&mut self) {
        match vae::device::cuda_devices() {
            Ok(all) => {
                for info in all {
                    TestedDevice::cuda(&info)
                        .map_or_else(|e| self.problems.push(e), |device| self.usable.push(device));
                }
            }
            Err(e) => self.problems.push(e.to_string()),
        }
    }
}

impl TestedDevice {
    /// Opens a CUDA device in f32, because the rounding of f16 would hide small errors. Returns why it does not work
    /// otherwise.
    #[cfg(feature = "cuda")]
    fn cuda(info: &vae::device::DeviceInfo) -> Result<Self, String> {
        let name = format!("cuda:{}", info.index);
        let description = format!(
            "{name} ({}, compute capability {}.{}, {:.1} GB, driver for CUDA {}.{})",
            info.name,
            info.capability.0,
            info.capability.1,
            info.total as f64 / 1e9,
            info.driver.0,
            info.driver.1
        );
        match vae::device::Cuda::new(info.index, vae::device::Precision::F32) {
            Ok(cuda) => Ok(Self { name, description, device: Device::Cuda(cuda) }),
            Err(e) => Err(format!("{description}: {e}")),
        }
    }

    /// Returns the number of shapes that cuDNN has convolved so far: with the bias fused, without, and by its fallback
    /// algorithm. `None` on the CPU.
    pub fn convolutions(&self) -> Option<[usize; 3]> {
        match &self.device {
            Device::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Some(cuda.convolution_counts()),
        }
    }
}
