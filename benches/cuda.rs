//! The whole model on a CUDA device: encode and decode, at several sides and batches.
//!
//! ```sh
//! cargo bench --features cuda --bench cuda                       # SD2's shapes in f16, weights from the formula of the tests
//! cargo bench --features cuda --bench cuda -- --model FOLDER     # a checkpoint: diffusers' layout, or a .safetensors file
//! cargo bench --features cuda --bench cuda -- --dtype bf16 --sides 512,768 --batches 4
//! ```
//!
//! | column | what |
//! | --- | --- |
//! | `ms` | from numbers on the host to numbers on the host, as the library is called: what a program waits |
//! | `device ms` | the network alone: from maps on the device to maps on the device |
//! | `pictures/s` | by `ms` |
//! | `peak MB` | the most memory on the device, weights and cuDNN's workspace included, during the runs of `ms` |
//! | `rms error` | of the result against the same in f32 on the same device, relative to its rms; not for f32 itself |
//!
//! Each time is a median of at least [`RUNS`] runs after some to warm up, and ends with a synchronisation. A machine without a device
//! is told so in one line on stderr. `benches/peers/compare_cuda.py` runs this beside PyTorch.

#[path = "../tests/suite/support/formula.rs"]
mod formula;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use clap::Parser;
use serde_json::json;
use vae::checkpoint::{Checkpoint, Hub, Precision, Source};
use vae::kernels::cuda::{CudaError, DeviceInfo, Element, Engine, Library, devices};
use vae::kernels::{FeatureMap, Kind, Shape, SharedWorkspace, Workspace};
use vae::model::decoder::Decoder;
use vae::model::encoder::Encoder;
use vae::model::layers::Conv2d;
use vae::model::{Config, LatentDecoder, Parameters, PictureEncoder};
use vae::noise::Generator;

/// At least so many runs make a median, and as many more as fit into [`SECONDS`].
const RUNS: usize = 5;
const SECONDS: f64 = 2.0;

const SD2: &str = r#"{
  "_class_name": "AutoencoderKL",
  "block_out_channels": [128, 256, 512, 512],
  "layers_per_block": 2
}"#;

/// Times encode and decode on a CUDA device.
#[derive(Parser)]
struct Args {
    /// N of `cuda:N`
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// f16, bf16 or f32
    #[arg(long, default_value = "f16", value_parser = element)]
    dtype: Element,
    /// Sides of the square pictures, in pixels
    #[arg(long, value_delimiter = ',', default_value = "512,1024,2048")]
    sides: Vec<usize>,
    /// Pictures at a time
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    batches: Vec<usize>,
    /// A checkpoint as `vae --model` takes it, instead of SD2's shapes with weights from a formula
    #[arg(long)]
    model: Option<Source>,
    /// Do not compare with f32
    #[arg(long)]
    no_error: bool,
    /// One JSON object per line: the device, then each case
    #[arg(long)]
    json: bool,
    /// Cargo says so
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn element(name: &str) -> Result<Element, String> {
    let all = [Element::F16, Element::Bf16, Element::F32];
    all.into_iter().find(|element| element.name() == name).ok_or("f16, bf16 or f32 is possible".into())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    Encode,
    Decode,
}

/// What is timed: one square picture or more.
#[derive(Clone, Copy)]
struct Case {
    task: Task,
    side: usize,
    batch: usize,
}

struct Measured {
    whole: Duration,
    device: Duration,
    peak: Option<u64>,
    error: Option<f64>,
}

/// Where the weights come from.
struct Model {
    config: Config,
    checkpoint: Option<Checkpoint>,
}

/// All of it, from the host to the host.
type Whole = Box<dyn Fn(&Tensor) -> candle_core::Result<Tensor>>;
/// One picture's way through the network, on the device.
type Network = Box<dyn Fn(FeatureMap, &mut Workspace) -> candle_core::Result<FeatureMap>>;

fn main() -> Result<()> {
    let args = Args::parse();
    let devices = match devices() {
        Err(e @ (CudaError::NoDevice | CudaError::LibraryMissing(Library::Driver))) => {
            eprintln!("skipped: no CUDA device ({e})");
            return Ok(());
        }
        other => other?,
    };
    let count = devices.len();
    let device = devices.get(args.device).ok_or(CudaError::NoSuchDevice { index: args.device, count })?;
    let model = Model::open(args.model.as_ref())?;
    let step = model.config.downscale();
    for &side in &args.sides {
        ensure!(side > 0 && side.is_multiple_of(step), "--sides: {side} is no multiple of {step}");
    }
    ensure!(!args.batches.contains(&0), "--batches: 0 pictures cannot be timed");

    print_head(&args, device);
    for &side in &args.sides {
        for task in [Task::Encode, Task::Decode] {
            for &batch in &args.batches {
                let case = Case { task, side, batch };
                let measured = measure(&args, &model, case)
                    .with_context(|| format!("{}, {side}×{side}, {batch} at a time", case.name()))?;
                print_row(&args, case, &measured);
            }
        }
    }
    Ok(())
}

fn measure(args: &Args, model: &Model, case: Case) -> Result<Measured> {
    let x = model.input(case)?;
    let space = SharedWorkspace::on(Engine::new(args.device, args.dtype)?);
    let engine = space.engine().expect("the workspace was made with one");

    let whole = model.whole(case.task, &space)?;
    let mut run = || {
        let start = Instant::now();
        whole(&x)?;
        engine.synchronize()?;
        Ok(start.elapsed())
    };
    warm_up(&mut run)?;
    engine.reset_peak();
    let whole_time = median(&mut run)?;
    let peak = engine.peak_bytes();
    let error = if args.no_error || args.dtype == Element::F32 {
        None
    } else {
        let reference = SharedWorkspace::on(Engine::new(args.device, Element::F32)?);
        Some(relative_rms(&whole(&x)?, &model.whole(case.task, &reference)?(&x)?)?)
    };
    drop(whole); // its weights leave the device

    let network = model.network(case.task)?;
    let mut run = || pass(&network, &x, &space, &engine);
    warm_up(&mut run)?;
    let device_time = median(&mut run)?;
    Ok(Measured { whole: whole_time, device: device_time, peak, error })
}

/// The time that the network takes for all pictures of x, one after the other, without their ways to the device and back.
fn pass(network: &Network, x: &Tensor, space: &SharedWorkspace, engine: &Engine) -> Result<Duration> {
    let (batch, channels, height, width) = x.dims4()?;
    let (shape, mut space) = (Shape::new(channels, height, width), space.lock());
    let mut total = Duration::ZERO;
    for i in 0..batch {
        let mut map = space.take(shape);
        map.load(&x.get(i)?.flatten_all()?.to_vec1::<f32>()?, shape)?;
        engine.synchronize()?;
        let start = Instant::now();
        let y = network(map, &mut space)?;
        engine.synchronize()?;
        total += start.elapsed();
        space.give(y);
    }
    Ok(total)
}

/// Weights are uploaded, cuDNN picks its algorithms, clocks go up.
fn warm_up(run: &mut impl FnMut() -> Result<Duration>) -> Result<()> {
    let (start, mut runs) = (Instant::now(), 0);
    while runs < 2 || start.elapsed().as_secs_f64() < SECONDS / 4.0 {
        run()?;
        runs += 1;
    }
    Ok(())
}

fn median(run: &mut impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < RUNS || start.elapsed().as_secs_f64() < SECONDS {
        times.push(run()?);
    }
    times.sort();
    let (low, high) = (times[(times.len() - 1) / 2], times[times.len() / 2]);
    Ok((low + high) / 2)
}

/// The rms of `x − truth` in parts of that of `truth`.
fn relative_rms(x: &Tensor, truth: &Tensor) -> Result<f64> {
    let (x, truth) = (x.flatten_all()?.to_vec1::<f32>()?, truth.flatten_all()?.to_vec1::<f32>()?);
    let square = |x: f32| f64::from(x) * f64::from(x);
    let differences: f64 = x.iter().zip(&truth).map(|(&x, &t)| square(x - t)).sum();
    Ok((differences / truth.iter().map(|&t| square(t)).sum::<f64>()).sqrt())
}

impl Case {
    fn name(self) -> &'static str {
        match self.task {
            Task::Encode => "encode",
            Task::Decode => "decode",
        }
    }
}

impl Model {
    fn open(source: Option<&Source>) -> Result<Self> {
        let Some(source) = source else {
            return Ok(Self { config: Config::from_json(SD2)?, checkpoint: None });
        };
        let checkpoint = Checkpoint::open(source, None, Precision::Full, &Hub::from_env())?;
        Ok(Self { config: checkpoint.config().clone(), checkpoint: Some(checkpoint) })
    }

    fn parameters(&self) -> Parameters {
        self.checkpoint.as_ref().map_or_else(|| formula::var_builder().into(), Checkpoint::parameters)
    }

    /// Noise: pixels, or latents as diffusion models make them, unscaled.
    fn input(&self, Case { task, side, batch }: Case) -> Result<Tensor> {
        let small = side / self.config.downscale();
        let noise = |shape: [usize; 4]| Generator::new(0).randn_tensor(&shape, &Device::Cpu);
        Ok(match task {
            Task::Encode => noise([batch, self.config.in_channels, side, side])?.affine(0.5, 0.0)?,
            Task::Decode => {
                self.config.unscale(&noise([batch, self.config.latent_channels, small, small])?)?
            }
        })
    }

    fn whole(&self, task: Task, space: &SharedWorkspace) -> Result<Whole> {
        let (config, vb) = (&self.config, self.parameters());
        Ok(match task {
            Task::Encode => {
                let encoder = PictureEncoder::new(config, vb, space)?;
                Box::new(move |x| encoder.moments(&encoder.h(x, &mut ())?))
            }
            Task::Decode => {
                let decoder = LatentDecoder::new(config, vb, space)?;
                Box::new(move |z| decoder.decode(z))
            }
        })
    }

    /// The same layers, without what brings pictures to the device and back.
    fn network(&self, task: Task) -> Result<Network> {
        let (config, vb) = (&self.config, self.parameters());
        let point = |there: bool, channels, name| {
            let conv = || Conv2d::new(channels, channels, Kind::Point, vb.pp(name));
            there.then(conv).transpose()
        };
        let replace = |conv: &Option<Conv2d>, x, space: &mut Workspace| match conv {
            Some(conv) => conv.replace(x, space),
            None => Ok(x),
        };
        let latents = config.latent_channels;
        Ok(match task {
            Task::Encode => {
                let encoder = Encoder::new(config, vb.pp("encoder"))?;
                let quant_conv = point(config.use_quant_conv, 2 * latents, "quant_conv")?;
                Box::new(move |x, space| {
                    let h = encoder.forward(x, space, &mut ())?;
                    replace(&quant_conv, h, space)
                })
            }
            Task::Decode => {
                let post_quant_conv = point(config.use_post_quant_conv, latents, "post_quant_conv")?;
                let decoder = Decoder::new(config, vb.pp("decoder"))?;
                Box::new(move |x, space| {
                    let z = replace(&post_quant_conv, x, space)?;
                    decoder.forward(z, space, &mut ())
                })
            }
        })
    }
}

fn print_head(args: &Args, device: &DeviceInfo) {
    let DeviceInfo { name, total, capability, driver, .. } = device;
    let weights = if args.model.is_some() { "a checkpoint's weights" } else { "weights from a formula" };
    if args.json {
        let object = json!({ "device": name, "total_bytes": total, "capability": capability, "driver": driver,
            "weights": weights });
        return println!("{object}");
    }
    println!(
        "cuda:{}, {name}, {:.0} GB, driver for CUDA {}.{}",
        args.device,
        *total as f64 / 1e9,
        driver.0,
        driver.1
    );
    println!("{}, {weights}\n", args.dtype);
    println!(
        "{:<8}{:>6}{:>7}{:>11}{:>11}{:>12}{:>10}{:>11}",
        "", "side", "batch", "ms", "device ms", "pictures/s", "peak MB", "rms error"
    );
}

fn print_row(args: &Args, case: Case, measured: &Measured) {
    let (task, Case { side, batch, .. }, Measured { peak, error, .. }) = (case.name(), case, measured);
    let [ms, device_ms] = [measured.whole, measured.device].map(|time| time.as_secs_f64() * 1e3);
    if args.json {
        let object = json!({ "task": task, "side": side, "batch": batch, "dtype": args.dtype.name(), "ms": ms,
            "device_ms": device_ms, "peak_bytes": peak, "error": error });
        return println!("{object}");
    }
    let speed = batch as f64 / measured.whole.as_secs_f64();
    let peak = peak.map_or("–".into(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
    let error = error.map_or("–".into(), |error| format!("{error:.1e}"));
    println!("{task:<8}{side:>6}{batch:>7}{ms:>11.2}{device_ms:>11.2}{speed:>12.1}{peak:>10}{error:>11}");
}
