//! Which device, driver, libraries and build compute, and what earlier runs of the same found out.
//!
//! A finding is a short text about one topic, in a file `vae/devices/DIGEST` in the user's cache folder. The name is the digest of
//! the identity and the topic, so a new driver, library or build starts without findings.

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use cudarc::driver::CudaContext;

use crate::cache_folder;

use super::cache;
use super::cudnn;
use super::device::DeviceInfo;
use super::error::CudaError;
use super::program;

/// Everything that can change what a device computes.
#[derive(Debug, Clone)]
pub struct Identity(String);

impl Identity {
    /// Of a device that has been opened, with the libraries that are loaded.
    pub fn new(context: &CudaContext, info: &DeviceInfo) -> Result<Self, CudaError> {
        let uuid = context.uuid().map(|uuid| uuid.bytes);
        let (name, capability, cuda) = (&info.name, info.capability, info.driver);
        let (nvrtc, cudnn) = (program::version()?, cudnn::version());
        let (kernels, version) = (program::source_digest(), env!("CARGO_PKG_VERSION"));
        Ok(Self(format!(
            "{name} {uuid:?} {capability:?}; driver {cuda:?} {}; NVRTC {nvrtc:?}; cuDNN {cudnn}; vae {version} {kernels} {}",
            driver_module(),
            executable()
        )))
    }

    /// What an earlier run found out about `topic`.
    pub fn recall(&self, topic: &str) -> Option<String> {
        String::from_utf8(cache::read(&self.place(topic)?)?).ok()
    }

    /// Writes a finding about `topic` for later runs, if that is possible.
    pub fn remember(&self, topic: &str, finding: &str) {
        if let Some(place) = self.place(topic) {
            cache::write(&place, finding.as_bytes()).ok();
        }
    }

    fn place(&self, topic: &str) -> Option<PathBuf> {
        Some(cache_folder::of_vae()?.join("devices").join(cache::digest(&format!("{topic}\n{}", self.0))))
    }
}

/// The release of the driver's kernel module, where Linux shows it.
fn driver_module() -> String {
    let text = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    text.lines().next().unwrap_or_default().to_string()
}

/// Size and time of the running program's file, which differ between builds of one version.
fn executable() -> String {
    let file = std::env::current_exe().and_then(fs::metadata);
    let of = |file: fs::Metadata| {
        let time = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(format!("{} {}", file.len(), time.as_nanos()))
    };
    file.ok().and_then(of).unwrap_or_default()
}
