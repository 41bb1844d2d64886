//! The build, the CPU, and the settings of the hub.

use std::path::PathBuf;

use serde::Serialize;

use vae::checkpoint::families::SD2;
use vae::checkpoint::{Checkpoint, Hub, Source, Variant};
use vae::device::Level;

#[derive(Serialize)]
pub struct Build {
    pub target: String,
    pub profile: &'static str,
    /// Cargo features.
    pub features: Vec<&'static str>,
}

pub fn build() -> Build {
    Build {
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        features: if cfg!(feature = "cuda") { vec!["cuda"] } else { Vec::new() },
    }
}

#[derive(Serialize)]
pub struct CpuInfo {
    /// The instruction set in use.
    pub level: &'static str,
    /// The instruction sets of this machine, the best first.
    pub available: Vec<&'static str>,
    pub threads: usize,
}

pub fn cpu(level: Level) -> CpuInfo {
    CpuInfo {
        level: level.name(),
        available: Level::all().into_iter().map(Level::name).collect(),
        threads: rayon::current_num_threads(),
    }
}

#[derive(Serialize)]
pub struct HubSettings {
    pub cache: PathBuf,
    pub endpoint: String,
    pub offline: bool,
    /// The default model, if it is in the cache.
    pub default_model: Option<String>,
}

pub fn hub() -> HubSettings {
    let hub = Hub::from_env();
    let offline = Hub { offline: true, ..hub.clone() };
    let default = Checkpoint::open(&Source::Named(&SD2), None, Variant::Full, &offline).ok();
    HubSettings {
        endpoint: hub.shown_endpoint(),
        cache: hub.cache,
        offline: hub.offline,
        default_model: default.map(|checkpoint| checkpoint.origin().model.clone()),
    }
}
