//! The devices that the self-test runs on.

use vae::checkpoint::Checkpoint;
use vae::kernels::cuda::{self, CudaError, DeviceInfo, Element, Engine};
use vae::kernels::{Level, SharedWorkspace};
use vae::model::AutoencoderKl;

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
    space: SharedWorkspace,
}

impl Devices {
    /// Finds all devices. The CPU computes at `level`.
    pub fn find(level: Level) -> Self {
        let space = SharedWorkspace::at(level);
        let mut usable = vec![TestedDevice { name: "cpu".into(), description: "cpu".into(), space }];
        let mut problems = Vec::new();
        match cuda::devices() {
            Ok(devices) => {
                for device in devices {
                    TestedDevice::cuda(device)
                        .map_or_else(|e| problems.push(e), |device| usable.push(device));
                }
            }
            Err(CudaError::NotBuilt) => {}
            Err(e) => problems.push(e.to_string()),
        }
        Self { usable, problems }
    }
}

impl TestedDevice {
    /// Opens a CUDA device in f32, because the rounding of f16 would hide small errors. Returns why it does not work
    /// otherwise.
    fn cuda(device: DeviceInfo) -> Result<Self, String> {
        let name = format!("cuda:{}", device.index);
        let description = format!(
            "{name} ({}, compute capability {}.{}, {:.1} GB, driver for CUDA {}.{})",
            device.name,
            device.capability.0,
            device.capability.1,
            device.total as f64 / 1e9,
            device.driver.0,
            device.driver.1
        );
        match Engine::new(device.index, Element::F32) {
            Ok(engine) => Ok(Self { name, description, space: SharedWorkspace::on(engine) }),
            Err(e) => Err(format!("{description}: {e}")),
        }
    }

    /// Loads a model that computes on this device.
    pub fn load(&self, checkpoint: &Checkpoint) -> candle_core::Result<AutoencoderKl> {
        AutoencoderKl::within(&self.space, checkpoint.config(), checkpoint.parameters())
    }

    /// Returns the number of shapes that cuDNN has convolved so far: with the bias fused, without, and by its fallback
    /// algorithm. `None` on the CPU.
    pub fn convolutions(&self) -> Option<[usize; 3]> {
        self.space.engine().map(|engine| engine.convolutions())
    }
}
