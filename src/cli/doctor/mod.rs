//! `vae doctor`: describes this machine and this build, and runs a self-test.

mod devices;
mod probe;
mod self_check;
mod self_test;
mod text;

use serde::Serialize;

use vae::device::Level;

use super::failure::Failure;
use super::memory::Memory;
use super::ui::Ui;

use devices::Devices;
use probe::{Build, CpuInfo, HubSettings};
use self_check::CheckedPrecision;
use self_test::{BOUND, SelfTest};

#[derive(Serialize)]
struct DoctorReport {
    version: &'static str,
    build: Build,
    cpu: CpuInfo,
    memory: Memory,
    devices: Vec<String>,
    /// Why there is no CUDA device, or why one does not work. Empty if the build has no CUDA support.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cuda_problems: Vec<String>,
    hub: HubSettings,
    self_tests: Vec<SelfTest>,
    /// Empty without a CUDA device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    self_checks: Vec<CheckedPrecision>,
}

pub fn run(ui: &Ui) -> Result<(), Failure> {
    let level = Level::from_env().map_err(|e| Failure::Usage(e.to_string()))?;
    let Devices { usable, problems } = Devices::find(level);
    let report = DoctorReport {
        version: env!("CARGO_PKG_VERSION"),
        build: probe::build(),
        cpu: probe::cpu(level),
        memory: Memory::current(),
        devices: usable.iter().map(|device| device.description.clone()).collect(),
        cuda_problems: problems,
        hub: probe::hub(),
        self_tests: usable.iter().map(SelfTest::run).collect(),
        self_checks: self_check::run(&usable),
    };
    ui.print(&report, &report.to_string()).map_err(Failure::Output)?;
    if let Some(check) = report.self_checks.iter().find(|check| !check.passed) {
        let CheckedPrecision { device, precision, .. } = check;
        return Err(Failure::SelfTest(format!(
            "the self-check failed on {device} in {precision}, so that --device auto uses the CPU; please report this, with the lines \
             above"
        )));
    }
    let Some(SelfTest { device, error, .. }) = report.self_tests.into_iter().find(|test| !test.passed) else {
        return Ok(());
    };
    let why = error
        .unwrap_or_else(|| format!("its results differ from candle-transformers' by more than {BOUND:.0e}"));
    Err(Failure::SelfTest(format!(
        "the self-test failed on {device}: {why}; please report this, with the lines above"
    )))
}
