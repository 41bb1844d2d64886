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
//! | `ms` | from f32 on the host to f32 on the host: the time that a caller of the library waits |
//! | `device ms` | the network alone, from maps in device memory to maps in device memory |
//! | `pictures/s` | computed from `ms` |
//! | `peak MB` | the peak device memory during the runs of `ms`, including weights and cuDNN's workspace |
//! | `rms error` | relative to the rms of the f32 result on the same device; absent for f32 |
//!
//! Each time is the median of at least [`RUNS`] runs after a warm-up, and ends with a synchronisation. Without a device, the benchmark
//! prints one line to stderr and exits. `benches/peers/compare_cuda.py` compares it with PyTorch.

#[path = "../tests/suite/support/formula.rs"]
mod formula;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use clap::Parser;
use serde_json::json;

use vae::checkpoint::{Checkpoint, Hub, Source, Variant};
use vae::device::{Backend, Cuda, CudaError, DeviceInfo, Precision, cuda_devices};
use vae::internals::cuda::{DeviceMap, Library};
use vae::internals::{Conv2d, ConvKind, Decoder, Encoder, Loader, Shape, Workspace};
use vae::model::{Config, DecodeLatents, EncodePictures, LatentDecoder, Parameters, PictureEncoder};
use vae::noise::Generator;

/// The minimum number of runs for a median; runs continue until [`SECONDS`] have passed.
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
    /// Device number (N of `cuda:N`)
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Precision: f16, bf16 or f32
    #[arg(long, default_value = "f16", value_parser = precision)]
    dtype: Precision,
    /// Sides of the square pictures, in pixels
    #[arg(long, value_delimiter = ',', default_value = "512,1024,2048")]
    sides: Vec<usize>,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    batches: Vec<usize>,
    /// A checkpoint, as for `vae --model` (default: SD2's architecture with formula weights)
    #[arg(long)]
    model: Option<Source>,
    /// Skip the comparison with f32
    #[arg(long)]
    no_error: bool,
    /// Print one JSON object per line: the device, then each case
    #[arg(long)]
    json: bool,
    /// Passed by cargo; ignored
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn precision(name: &str) -> Result<Precision, String> {
    let all = [Precision::F16, Precision::Bf16, Precision::F32];
    all.into_iter().find(|precision| precision.name() == name).ok_or("use f16, bf16 or f32".into())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    Encode,
    Decode,
}

/// A case: one or more square pictures.
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

/// The source of the weights.
struct Model {
    config: Config,
    checkpoint: Option<Checkpoint>,
}

/// The whole run, from the host and back to the host.
type Whole = Box<dyn Fn(&Tensor) -> candle_core::Result<Tensor>>;
/// One picture's pass through the network, on the device.
type Network = Box<dyn Fn(DeviceMap, &mut Workspace<Cuda>) -> candle_core::Result<DeviceMap>>;

fn main() -> Result<()> {
    let args = Args::parse();
    let devices = match cuda_devices() {
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
        ensure!(side > 0 && side.is_multiple_of(step), "--sides: {side} is not a multiple of {step}");
    }
    ensure!(!args.batches.contains(&0), "--batches: must be at least 1");

    print_head(&args, device);
    for &side in &args.sides {
        for task in [Task::Encode, Task::Decode] {
            for &batch in &args.batches {
                let case = Case { task, side, batch };
                let measured = measure(&args, &model, case)
                    .with_context(|| format!("{}, {side}×{side}, batch of {batch}", case.name()))?;
                print_row(&args, case, &measured);
            }
        }
    }
    Ok(())
}

fn measure(args: &Args, model: &Model, case: Case) -> Result<Measured> {
    let x = model.input(case)?;
    let cuda = Cuda::new(args.device, args.dtype)?;

    let whole = model.whole(case.task, &cuda)?;
    let mut run = || {
        let start = Instant::now();
        whole(&x)?;
        cuda.synchronize()?;
        Ok(start.elapsed())
    };
    warm_up(&mut run)?;
    cuda.reset_peak();
    let whole_time = median(&mut run)?;
    let peak = cuda.peak_bytes();
    let error = if args.no_error || args.dtype == Precision::F32 {
        None
    } else {
        let reference = Cuda::new(args.device, Precision::F32)?;
        Some(relative_rms(&whole(&x)?, &model.whole(case.task, &reference)?(&x)?)?)
    };
    drop(whole); // frees its weights on the device

    let network = model.network(case.task, &cuda)?;
    let mut run = || pass(&network, &x, &cuda);
    warm_up(&mut run)?;
    let device_time = median(&mut run)?;
    Ok(Measured { whole: whole_time, device: device_time, peak, error })
}

/// The time of the network for all pictures of x, one after the other, without copies to and from the device.
fn pass(network: &Network, x: &Tensor, cuda: &Cuda) -> Result<Duration> {
    let (batch, channels, height, width) = x.dims4()?;
    let (shape, mut space) = (Shape::new(channels, height, width), Workspace::checkout(cuda));
    let mut total = Duration::ZERO;
    for i in 0..batch {
        let mut map = space.take(shape);
        cuda.load(&x.get(i)?.flatten_all()?.to_vec1::<f32>()?, shape, &mut map)?;
        cuda.synchronize()?;
        let start = Instant::now();
        let y = network(map, &mut space)?;
        cuda.synchronize()?;
        total += start.elapsed();
        space.give(y);
    }
    Ok(total)
}

/// Warms up: uploads weights, lets cuDNN choose its algorithms, raises clocks.
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

/// The rms of `x − truth`, relative to that of `truth`.
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
        let checkpoint = Checkpoint::open(source, None, Variant::Full, &Hub::from_env())?;
        Ok(Self { config: checkpoint.config().clone(), checkpoint: Some(checkpoint) })
    }

    fn parameters(&self) -> Parameters {
        self.checkpoint.as_ref().map_or_else(|| formula::var_builder().into(), Checkpoint::parameters)
    }

    /// Random pixels, or random latents (unscaled).
    fn input(&self, Case { task, side, batch }: Case) -> Result<Tensor> {
        let small = side / self.config.downscale();
        let noise = |shape: [usize; 4]| Generator::new(0).randn_tensor(&shape, &Device::Cpu);
        Ok(match task {
            Task::Encode => noise([batch, 3, side, side])?.affine(0.5, 0.0)?,
            Task::Decode => {
                self.config.unscale(&noise([batch, self.config.latent_channels, small, small])?)?
            }
        })
    }

    fn whole(&self, task: Task, cuda: &Cuda) -> Result<Whole> {
        let (config, parameters) = (&self.config, self.parameters());
        Ok(match task {
            Task::Encode => {
                let encoder = PictureEncoder::new(cuda, config, parameters)?;
                Box::new(move |x| encoder.moments(&encoder.h(x, &mut ())?))
            }
            Task::Decode => {
                let decoder = LatentDecoder::new(cuda, config, parameters)?;
                Box::new(move |z| decoder.decode(z))
            }
        })
    }

    /// The same layers, without the copies to and from the device.
    fn network(&self, task: Task, cuda: &Cuda) -> Result<Network> {
        let (config, parameters) = (&self.config, self.parameters());
        let load = Loader::new(cuda, &parameters);
        let point = |there: bool, channels, name| {
            let conv = || Conv2d::new(channels, channels, ConvKind::Point, load.under(name));
            there.then(conv).transpose()
        };
        let apply = |conv: &Option<Conv2d<Cuda>>, x, space: &mut Workspace<Cuda>| match conv {
            Some(conv) => conv.forward(x, space),
            None => Ok(x),
        };
        let latents = config.latent_channels;
        let kl = config.kl().expect("an AutoencoderKL");
        Ok(match task {
            Task::Encode => {
                let encoder = Encoder::new(kl, latents, load.under("encoder"))?;
                let quant_conv = point(kl.use_quant_conv, 2 * latents, "quant_conv")?;
                Box::new(move |x, space| {
                    let h = encoder.forward(x, space, &mut ())?;
                    apply(&quant_conv, h, space)
                })
            }
            Task::Decode => {
                let post_quant_conv = point(kl.use_post_quant_conv, latents, "post_quant_conv")?;
                let decoder = Decoder::new(kl, latents, load.under("decoder"))?;
                Box::new(move |x, space| {
                    let z = apply(&post_quant_conv, x, space)?;
                    decoder.forward(z, space, &mut ())
                })
            }
        })
    }
}

fn print_head(args: &Args, device: &DeviceInfo) {
    let DeviceInfo { name, total, capability, driver, .. } = device;
    let weights = if args.model.is_some() { "a checkpoint's weights" } else { "formula weights" };
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
