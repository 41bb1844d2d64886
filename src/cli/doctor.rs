//! `vae doctor`: this machine, this build, and whether they compute rightly. Something to paste into a bug report.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use serde::Serialize;

use vae::checkpoint::{Checkpoint, Hub, Precision, Source, built_in};
use vae::kernels::cuda::{self, CudaError, DeviceInfo, Element, Engine};
use vae::kernels::{Level, SharedWorkspace};
use vae::model::AutoencoderKl;
use vae::picture::{Background, Picture, SAMPLE_PNG};
use vae::statistics::Statistics;
use vae::stock::Stock;

use super::failure::Failure;
use super::memory;
use super::ui::Ui;

/// The largest difference from the stock model that is taken for rounding in f32, in parts of the values' rms. Two orders
/// of summation differ by about 1e-5; a wrong tap of a filter differs by 1e-2 and more.
const BOUND: f64 = 1e-4;

/// Width and height of the picture of the self-test.
const SIDES: (usize, usize) = (192, 128);

#[derive(Serialize)]
struct Report {
    version: &'static str,
    build: Build,
    cpu: Cpu,
    memory: Memory,
    devices: Vec<String>,
    /// Why there is no CUDA device, or why one does not work, in a build that could use it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cuda_problems: Vec<String>,
    hub: HubState,
    self_tests: Vec<SelfTest>,
}

#[derive(Serialize)]
struct Build {
    target: String,
    profile: &'static str,
    /// Cargo features that it was built with.
    features: Vec<&'static str>,
}

#[derive(Serialize)]
struct Cpu {
    /// The instructions that are used.
    level: &'static str,
    /// All that the machine has, the best first.
    available: Vec<&'static str>,
    threads: usize,
}

/// Bytes, where the system tells.
#[derive(Serialize)]
struct Memory {
    total: Option<u64>,
    free: Option<u64>,
}

#[derive(Serialize)]
struct HubState {
    cache: PathBuf,
    endpoint: String,
    offline: bool,
    /// The default model, if it is in the cache.
    default_model: Option<String>,
}

/// The built-in model through this program's kernels and through candle-transformers.
#[derive(Serialize)]
struct SelfTest {
    device: String,
    passed: bool,
    /// Why it could not be run to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    outcome: Option<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    /// The largest difference of the latents, in parts of their rms.
    encode_difference: f64,
    /// The same of the decoded picture.
    decode_difference: f64,
    bound: f64,
    /// Milliseconds to encode and decode, on a device with its start.
    ms: f64,
    /// The same, by candle-transformers.
    stock_ms: f64,
    /// On a device: shapes that cuDNN convolves with the bias fused, without it, and in its slowest way.
    #[serde(skip_serializing_if = "Option::is_none")]
    convolutions: Option<[usize; 3]>,
}

pub fn run(ui: &Ui) -> Result<(), Failure> {
    let level = Level::from_env().map_err(|e| Failure::Usage(e.to_string()))?;
    let mut places =
        vec![Place { name: "cpu".into(), about: "cpu".into(), space: SharedWorkspace::at(level) }];
    let mut cuda_problems = Vec::new();
    for place in cuda_places() {
        match place {
            Ok(place) => places.push(place),
            Err(problem) => cuda_problems.push(problem),
        }
    }
    let self_tests = places.iter().map(self_test).collect();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        build: build(),
        cpu: Cpu {
            level: level.name(),
            available: Level::all().into_iter().map(Level::name).collect(),
            threads: rayon::current_num_threads(),
        },
        memory: Memory { total: memory::total(), free: memory::available() },
        devices: places.iter().map(|place| place.about.clone()).collect(),
        cuda_problems,
        hub: hub_state(&Hub::from_env()),
        self_tests,
    };
    let text = words(&report).map_err(Failure::Output)?;
    ui.print(&report, &text).map_err(Failure::Output)?;
    match report.self_tests.iter().find(|test| !test.passed) {
        Some(SelfTest { device, error, .. }) => Err(Failure::SelfTest(format!(
            "the self-test failed on {device}: {}; please report this, with the lines above",
            error
                .clone()
                .unwrap_or(format!("its results differ from the stock model's by more than {BOUND:.0e}"))
        ))),
        None => Ok(()),
    }
}

/// Something to compute with.
struct Place {
    name: String,
    /// The same with what a bug report should say of it.
    about: String,
    space: SharedWorkspace,
}

/// Every CUDA device, in f32 (half precision differs by as much as a small mistake would), or why it does not work.
fn cuda_places() -> Vec<Result<Place, String>> {
    let place = |device: DeviceInfo| {
        let name = format!("cuda:{}", device.index);
        let about = format!(
            "{name} ({}, compute capability {}.{}, {:.1} GB, driver for CUDA {}.{})",
            device.name,
            device.capability.0,
            device.capability.1,
            device.total as f64 / 1e9,
            device.driver.0,
            device.driver.1
        );
        match Engine::new(device.index, Element::F32) {
            Ok(engine) => Ok(Place { name, about, space: SharedWorkspace::on(engine) }),
            Err(e) => Err(format!("{about}: {e}")),
        }
    };
    match cuda::devices() {
        Ok(devices) => devices.into_iter().map(place).collect(),
        Err(CudaError::NotBuilt) => Vec::new(),
        Err(e) => vec![Err(e.to_string())],
    }
}

fn build() -> Build {
    Build {
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        features: if cfg!(feature = "cuda") { vec!["cuda"] } else { Vec::new() },
    }
}

fn hub_state(hub: &Hub) -> HubState {
    let offline = Hub { offline: true, ..hub.clone() };
    let default = Checkpoint::open(&Source::Sd2, None, Precision::Full, &offline).ok();
    HubState {
        cache: hub.cache.clone(),
        endpoint: without_credentials(&hub.endpoint),
        offline: hub.offline,
        default_model: default.map(|checkpoint| checkpoint.origin().model.clone()),
    }
}

/// `https://user:secret@host` → `https://host`
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_string(),
    }
}

fn self_test(place: &Place) -> SelfTest {
    let (outcome, error) = match compare(place) {
        Ok(outcome) => (Some(outcome), None),
        Err(e) => (None, Some(format!("{e:#}"))),
    };
    let within = |o: &Outcome| o.encode_difference <= BOUND && o.decode_difference <= BOUND;
    let passed = outcome.as_ref().is_some_and(within);
    SelfTest { device: place.name.clone(), passed, error, outcome }
}

/// Encodes and decodes the sample picture with both models.
fn compare(place: &Place) -> Result<Outcome> {
    let checkpoint = built_in::open()?;
    let picture = Picture::from_bytes(SAMPLE_PNG, Background::WHITE)?.resize(SIDES.0, SIDES.1);
    let x = picture.to_tensor(&Device::Cpu)?;
    let ours = AutoencoderKl::within(&place.space, checkpoint.config(), checkpoint.parameters())?;
    let stock = Stock::new(checkpoint.config(), Box::new(checkpoint.weights().clone()), &Device::Cpu)?;
    let way = |mean: &dyn Fn() -> candle_core::Result<Tensor>,
               decode: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>|
     -> Result<(Tensor, Tensor, f64)> {
        let start = Instant::now();
        let mean = mean()?;
        let decoded = decode(&mean)?;
        Ok((mean, decoded, (start.elapsed().as_secs_f64() * 1e6).round() / 1e3))
    };
    let (mean, decoded, ms) = way(&|| Ok(ours.encode(&x)?.mean().clone()), &|z| ours.decoder.decode(z))?;
    let (stock_mean, stock_decoded, stock_ms) = way(&|| stock.mean(&x), &|z| stock.decode(z))?;
    let (encode_difference, decode_difference) =
        (difference(&mean, &stock_mean)?, difference(&decoded, &stock_decoded)?);
    let convolutions = place.space.engine().map(|engine| engine.convolutions());
    Ok(Outcome { encode_difference, decode_difference, bound: BOUND, ms, stock_ms, convolutions })
}

/// The largest absolute difference, in parts of the rms of `wanted`; infinite where a value is no finite number.
fn difference(got: &Tensor, wanted: &Tensor) -> Result<f64> {
    if got.dims() != wanted.dims() {
        bail!("the two models give {:?} and {:?}", got.dims(), wanted.dims());
    }
    let values = |tensor: &Tensor| tensor.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>();
    let (got, wanted) = (values(got)?, values(wanted)?);
    if got.iter().chain(&wanted).any(|x| !x.is_finite()) {
        return Ok(f64::INFINITY);
    }
    let largest = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    Ok(f64::from(largest) / Statistics::of(wanted.iter().copied()).rms())
}

fn words(report: &Report) -> Result<String> {
    let Report { version, build, cpu, memory, devices, cuda_problems, hub, self_tests } = report;
    let features = if build.features.is_empty() { "none".into() } else { build.features.join(", ") };
    let gigabytes =
        |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| format!("{:.1} GB", bytes as f64 / 1e9));
    let mut text =
        format!("vae          {version}, {}, {} build, features: {features}\n", build.target, build.profile);
    writeln!(
        text,
        "CPU          {} (available: {}), {} threads",
        cpu.level,
        cpu.available.join(", "),
        cpu.threads
    )?;
    writeln!(text, "memory       {}, {} free", gigabytes(memory.total), gigabytes(memory.free))?;
    writeln!(text, "devices      {}", devices.join(", "))?;
    for problem in cuda_problems {
        writeln!(text, "no CUDA      {problem}")?;
    }
    writeln!(text, "cache        {}", hub.cache.display())?;
    let offline = if hub.offline { "offline (HF_HUB_OFFLINE)" } else { "online" };
    writeln!(text, "hub          {}, {offline}", hub.endpoint)?;
    let default =
        hub.default_model.as_deref().map_or("not in the cache".into(), |id| format!("{id}, in the cache"));
    writeln!(text, "sd2          {default}")?;
    for test in self_tests {
        let verdict = if test.passed { "passed" } else { "FAILED" };
        let device = &test.device;
        writeln!(
            text,
            "self-test    {verdict} on {device}: the built-in model on {}×{} pixels",
            SIDES.0, SIDES.1
        )?;
        if let Some(error) = &test.error {
            writeln!(text, "             {error}")?;
        }
        let Some(test) = &test.outcome else { continue };
        writeln!(
            text,
            "             differs from candle-transformers' by {:.1e} (latents) and {:.1e} (picture) of the rms, \
             at most {BOUND:.0e}",
            test.encode_difference, test.decode_difference
        )?;
        writeln!(
            text,
            "             and took {:.0} ms, candle-transformers {:.0} ms",
            test.ms, test.stock_ms
        )?;
        if let Some([fused, plain, slow]) = test.convolutions {
            writeln!(
                text,
                "             convolutions: {fused} with the bias fused, {plain} without, {slow} in the slowest way"
            )?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_no_credentials() {
        assert_eq!(without_credentials("https://me:secret@hub.example/x"), "https://hub.example/x");
        assert_eq!(without_credentials("http://hub:8080"), "http://hub:8080");
    }

    #[test]
    fn what_is_wrong_differs_by_more_than_the_bound() {
        let tensor = |values: [f32; 4]| Tensor::new(&values, &Device::Cpu).expect("four values");
        let right = tensor([1.0, -1.0, 1.0, -1.0]);
        assert_eq!(difference(&right, &right).expect("a number"), 0.0);
        let off = difference(&tensor([1.0, -1.0, 1.0, -1.01]), &right).expect("a number");
        assert!((off - 0.01).abs() < 1e-6 && off > BOUND, "{off}");
        assert_eq!(difference(&tensor([f32::NAN; 4]), &right).expect("a number"), f64::INFINITY);
        assert!(difference(&right, &right.narrow(0, 0, 2).expect("two values")).is_err());
    }
}
