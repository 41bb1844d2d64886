//! The device and the model of a run. The device is chosen first. The model is opened only when it is needed, so that
//! a file that is not a picture causes no download.

use std::cell::OnceCell;
use std::num::NonZeroUsize;

use anyhow::{Context, Result, anyhow};

use vae::checkpoint::{Checkpoint, Source, Variant};
use vae::device::{Device, Error, Precision};
use vae::latents::{Provenance, Scaling};
use vae::model::{Config, DecodeLatents, EncodePictures};

use super::args::ModelArgs;
use super::failure::Failure;
use super::hub;
use super::memory::{self, Work};
use super::record::{ModelTiming, Stages, timed};
use super::ui::Ui;

pub struct Session<'a> {
    source: Source,
    args: &'a ModelArgs,
    ui: &'a Ui,
    checkpoint: OnceCell<Checkpoint>,
    /// The model on the chosen device, and then on the same device in safer precisions.
    attempts: [OnceCell<Attempt>; 3],
}

/// A device, and the halves of the model on it.
struct Attempt {
    device: Device,
    encoder: OnceCell<Box<AnyEncoder>>,
    decoder: OnceCell<Box<AnyDecoder>>,
}

/// The encoding half on any device.
type AnyEncoder = dyn EncodePictures;
/// The decoding half on any device.
type AnyDecoder = dyn DecodeLatents;

impl<'a> Session<'a> {
    /// Chooses the device. `default` is the model without `--model`.
    pub fn new(args: &'a ModelArgs, default: Source, ui: &'a Ui) -> Result<Self, Failure> {
        let (device, notes) = Device::choose(args.device, args.dtype.precision()).map_err(Failure::Usage)?;
        for note in notes {
            ui.note(&format!("note: {note}"));
        }
        start_threads(args.threads)?;
        let source = args.model.clone().unwrap_or(default);
        hub::check_options(&source, args.revision.as_deref(), args.refresh)?;
        let attempts = [Attempt::new(device).into(), OnceCell::new(), OnceCell::new()];
        Ok(Self { source, args, ui, checkpoint: OnceCell::new(), attempts })
    }

    /// Returns the checkpoint. The first call opens it, and downloads it if necessary.
    pub fn checkpoint(&self) -> Result<&Checkpoint, Failure> {
        get_or_try_init(&self.checkpoint, || {
            let hub = hub::hub(self.args.refresh, self.ui);
            let variant = match self.device().map_err(Failure::Model)?.precision() {
                Precision::F16 | Precision::Bf16 => Variant::Fp16,
                Precision::F32 => Variant::Full,
            };
            let revision = self.args.revision.as_deref();
            let checkpoint = self
                .ui
                .suspend(|| Checkpoint::open(&self.source, revision, variant, &hub))
                .map_err(|e| Failure::Model(e.into()))?;
            if let Some(warning) = checkpoint.warning() {
                self.ui.note(&format!("warning: {warning}"));
            }
            Ok(checkpoint)
        })
    }

    /// Returns the config of the checkpoint.
    pub fn config(&self) -> Result<&Config, Failure> {
        Ok(self.checkpoint()?.config())
    }

    /// Runs `work` on the encoding half. If values are not finite, retries in the next safer precision: f16 → bf16 → f32.
    pub fn encode<T>(&self, stages: &mut Stages, work: impl FnMut(&AnyEncoder) -> Result<T>) -> Result<T> {
        self.with_retries(stages, |stages| &mut stages.encode, Attempt::encoder, work)
    }

    /// Runs `work` on the decoding half, with the same retries.
    pub fn decode<T>(&self, stages: &mut Stages, work: impl FnMut(&AnyDecoder) -> Result<T>) -> Result<T> {
        self.with_retries(stages, |stages| &mut stages.decode, Attempt::decoder, work)
    }

    fn with_retries<M: ?Sized, T>(
        &self,
        stages: &mut Stages,
        timing: fn(&mut Stages) -> &mut ModelTiming,
        model: for<'p> fn(&'p Attempt, &Checkpoint) -> Result<&'p M>,
        mut work: impl FnMut(&M) -> Result<T>,
    ) -> Result<T> {
        let mut number = 0;
        loop {
            let attempt = self.attempt(number)?;
            let checkpoint = timed(&mut stages.load_ms, || self.checkpoint())?;
            let model = timed(&mut stages.load_ms, || model(attempt, checkpoint))?;
            let timing = timing(stages);
            timing.dtype = (!attempt.device.is_cpu()).then(|| attempt.device.precision().name());
            let result = timed(&mut timing.ms, || work(model));
            if number > 0 {
                attempt.device.release(); // the next picture starts with the first attempt again
            }
            let Some((precision, safer)) = result.as_ref().err().and_then(overflow) else { return result };
            self.ui.note(&format!(
                "warning: {precision} gave NaN or infinite values; computing again in {safer}, which takes longer"
            ));
            attempt.device.release(); // the next attempt needs the memory
            number += 1;
        }
    }

    /// Returns an attempt by its number. Each has a safer precision than the one before.
    fn attempt(&self, number: usize) -> Result<&Attempt> {
        if let Some(attempt) = self.attempts[number].get() {
            return Ok(attempt);
        }
        let before = &self.attempt(number - 1)?.device;
        let device = before.safer()?.context("there is no safer precision")?;
        Ok(self.attempts[number].get_or_init(|| Attempt::new(device)))
    }

    /// Returns the chosen device.
    fn device(&self) -> Result<&Device> {
        Ok(&self.attempt(0)?.device)
    }

    /// Returns the kind of the chosen device and its precision, as results state them.
    pub fn device_and_precision(&self) -> Result<(&'static str, &'static str)> {
        let device = self.device()?;
        Ok((if device.is_cpu() { "cpu" } else { "cuda" }, device.precision().name()))
    }

    /// Fails if there is not enough memory for `work`. Of a model on a CUDA device, this is the memory for pictures; the
    /// device reports by itself that its own is not enough.
    pub fn check_memory(&self, work: Work) -> Result<()> {
        let device = self.device()?;
        let config = if device.is_cpu() { Some(self.config()?) } else { None };
        if memory::check(work, config).is_ok() {
            return Ok(());
        }
        device.release(); // without the memory of earlier pictures, it may be enough
        memory::check(work, config)
    }

    /// Returns the provenance of latents of this model.
    pub fn provenance(&self) -> Result<Provenance, Failure> {
        let checkpoint = self.checkpoint()?;
        let config = checkpoint.config();
        let sha256 = checkpoint.weights().sha256().map_err(|e| Failure::Model(e.into()))?;
        Ok(Provenance {
            model: Some(checkpoint.origin().model.clone()),
            model_revision: checkpoint.origin().revision.clone(),
            note: checkpoint.origin().note.map(str::to_string),
            model_sha256: Some(sha256.to_string()),
            scaling: Some(Scaling {
                factor: config.scaling_factor,
                shift: config.shift_factor.unwrap_or(0.0),
                scaled: true,
            }),
            ..Provenance::default()
        })
    }
}

impl Attempt {
    fn new(device: Device) -> Self {
        Self { device, encoder: OnceCell::new(), decoder: OnceCell::new() }
    }

    /// Returns the encoding half. The first call loads it.
    fn encoder(&self, checkpoint: &Checkpoint) -> Result<&AnyEncoder> {
        let load = || self.device.picture_encoder(checkpoint.config(), checkpoint.parameters());
        Ok(&**get_or_try_init(&self.encoder, || load().map_err(unloadable))?)
    }

    /// Returns the decoding half. The first call loads it.
    fn decoder(&self, checkpoint: &Checkpoint) -> Result<&AnyDecoder> {
        let load = || self.device.latent_decoder(checkpoint.config(), checkpoint.parameters());
        Ok(&**get_or_try_init(&self.decoder, || load().map_err(unloadable))?)
    }
}

/// Returns the precision that overflowed, and the next safer one. Returns `None` for other errors and after f32.
fn overflow(error: &anyhow::Error) -> Option<(Precision, Precision)> {
    match Error::find(error.downcast_ref()?)? {
        Error::NotFinite { precision } => Some((*precision, precision.safer()?)),
        _ => None,
    }
}

/// Starts the threads that compute; this thread is one of them. If it only waited for them, then each operation on a small
/// picture would cost two switches between threads.
fn start_threads(threads: Option<NonZeroUsize>) -> Result<(), Failure> {
    let count = threads.map_or(0, NonZeroUsize::get); // 0: one for each core
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).use_current_thread().build_global();
    pool.map_err(|e| Failure::Usage(format!("cannot start the threads: {e}; use fewer with --threads")))
}

/// Weights that do not match the config end the run. A device that has no room for them fails for this input only.
fn unloadable(e: candle_core::Error) -> anyhow::Error {
    match Error::find(&e) {
        Some(Error::Device(_)) => e.into(),
        _ => Failure::Model(anyhow!(e).context("the weights do not match the config")).into(),
    }
}

fn get_or_try_init<T, E>(cell: &OnceCell<T>, init: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
    match cell.get() {
        Some(value) => Ok(value),
        None => init().map(|value| cell.get_or_init(|| value)),
    }
}
