//! The device and the model of a run. The device is chosen first. The model is opened only when it is needed, so that
//! a file that is not a picture causes no download.

use std::cell::{OnceCell, RefCell};
use std::num::NonZeroUsize;
use std::rc::Rc;

use anyhow::{Result, anyhow};

use vae::checkpoint::{Checkpoint, Source, Variant};
use vae::device::{Device, Error, Precision};
use vae::latents::Provenance;
use vae::model::{Config, DecodeLatents, EncodePictures, Parameters, Scaling};

use super::args::ModelArgs;
use super::attempts::{Attempts, Half};
use super::failure::Failure;
use super::hub;
use super::memory::{self, Size, Work};
use super::record::{ModelTiming, Stages, timed};
use super::ui::Ui;

pub struct Session<'a> {
    source: Source,
    args: &'a ModelArgs,
    ui: &'a Ui,
    checkpoint: OnceCell<Checkpoint>,
    attempts: Attempts<'a>,
    encoder: LoadedHalf<AnyEncoder>,
    decoder: LoadedHalf<AnyDecoder>,
}

/// The encoding half on any device.
type AnyEncoder = dyn EncodePictures;
/// The decoding half on any device.
type AnyDecoder = dyn DecodeLatents;

/// One half of the model, on one device at a time.
struct LoadedHalf<M: ?Sized> {
    half: Half,
    /// Computing a picture of a size.
    work: fn(Size) -> Work,
    load: fn(&Device, &Config, Parameters) -> candle_core::Result<Box<M>>,
    timing: fn(&mut Stages) -> &mut ModelTiming,
    /// The half on the device that was used last.
    model: RefCell<Option<(Device, Rc<M>)>>,
}

impl<'a> Session<'a> {
    /// Chooses the device. `default` is the model without `--model`.
    pub fn new(args: &'a ModelArgs, default: Source, ui: &'a Ui) -> Result<Self, Failure> {
        start_threads(args.threads)?;
        let attempts = Attempts::new(args, ui)?;
        let source = args.model.clone().unwrap_or(default);
        hub::check_options(&source, args.revision.as_deref(), args.refresh)?;
        let encoder = LoadedHalf {
            half: Half::new("encoder"),
            work: |original| Work::Encode { file: 0, original, multiple: 1 },
            load: Device::picture_encoder,
            timing: |stages| &mut stages.encode,
            model: RefCell::default(),
        };
        let decoder = LoadedHalf {
            half: Half::new("decoder"),
            work: |size| Work::Decode { size, resized: None },
            load: Device::latent_decoder,
            timing: |stages| &mut stages.decode,
            model: RefCell::default(),
        };
        Ok(Self { source, args, ui, checkpoint: OnceCell::new(), attempts, encoder, decoder })
    }

    /// Returns the checkpoint. The first call opens it, and downloads it if necessary.
    pub fn checkpoint(&self) -> Result<&Checkpoint, Failure> {
        get_or_try_init(&self.checkpoint, || {
            let hub = hub::hub(self.args.refresh, self.ui);
            let variant = match self.attempts.device().precision() {
                Precision::F16 | Precision::Bf16 => Variant::Fp16,
                Precision::F32 => Variant::Full,
            };
            let revision = self.args.revision.as_deref();
            hub::open(&self.source, revision, variant, &hub, &self.args.scaling.overrides(), self.ui)
        })
    }

    /// Returns the config of the checkpoint.
    pub fn config(&self) -> Result<&Config, Failure> {
        Ok(self.checkpoint()?.config())
    }

    /// Returns the scaling of the latents.
    ///
    /// # Errors
    /// [`Failure::Model`] if it is unknown.
    pub fn scaling(&self) -> Result<&Scaling, Failure> {
        let checkpoint = self.checkpoint()?;
        let config = checkpoint.config();
        config.scaling.as_ref().ok_or_else(|| {
            // A file that is no VAE is better called what it is.
            let device = self.attempts.device();
            if let (Err(e), Err(_)) =
                (self.encoder.on(&device, checkpoint), self.decoder.on(&device, checkpoint))
                && let Ok(failure) = e.downcast()
            {
                return failure;
            }
            let refusal = checkpoint.recognition().refusal(&checkpoint.origin().model, config);
            Failure::Model(anyhow!("{refusal}; unscaled latents need none (encode and decode --unscaled)"))
        })
    }

    /// Runs `work` on the encoding half for a picture of `size`, on the devices and in the precisions of [`Attempts`].
    pub fn encode<T>(
        &self,
        size: Size,
        stages: &mut Stages,
        work: impl FnMut(&AnyEncoder) -> Result<T>,
    ) -> Result<T> {
        self.attempt(&self.encoder, size, stages, work)
    }

    /// Runs `work` on the decoding half for a picture of `size`, in the same way.
    pub fn decode<T>(
        &self,
        size: Size,
        stages: &mut Stages,
        work: impl FnMut(&AnyDecoder) -> Result<T>,
    ) -> Result<T> {
        self.attempt(&self.decoder, size, stages, work)
    }

    fn attempt<M: ?Sized, T>(
        &self,
        loaded: &LoadedHalf<M>,
        size: Size,
        stages: &mut Stages,
        mut work: impl FnMut(&M) -> Result<T>,
    ) -> Result<T> {
        let checkpoint = timed(&mut stages.load_ms, || self.checkpoint())?;
        let planned_on_cpu = self.attempts.device().is_cpu();
        self.attempts.run(&loaded.half, checkpoint, |device| {
            if device.is_cpu() && !planned_on_cpu {
                self.check_memory((loaded.work)(size))?;
            }
            let model = timed(&mut stages.load_ms, || loaded.on(device, checkpoint))?;
            let timing = (loaded.timing)(stages);
            timing.dtype = (!device.is_cpu()).then(|| device.precision().name());
            timed(&mut timing.ms, || work(&model))
        })
    }

    /// Returns the kind of the chosen device and its precision, as results state them.
    pub fn device_and_precision(&self) -> (&'static str, &'static str) {
        let device = self.attempts.chosen();
        (if device.is_cpu() { "cpu" } else { "cuda" }, device.precision().name())
    }

    /// Fails if there is not enough memory for `work`. Of a model on a CUDA device, this is the memory for pictures; the
    /// device reports by itself that its own is not enough.
    pub fn check_memory(&self, work: Work) -> Result<()> {
        let device = self.attempts.device();
        let config = if device.is_cpu() { Some(self.config()?) } else { None };
        if memory::check(work, config).is_ok() {
            return Ok(());
        }
        device.release(); // without the memory of earlier pictures, it may be enough
        memory::check(work, config)
    }

    /// Returns the provenance of latents of this model, which are `scaled` or not.
    pub fn provenance(&self, scaled: bool) -> Result<Provenance, Failure> {
        let checkpoint = self.checkpoint()?;
        let config = checkpoint.config();
        let sha256 = checkpoint.sha256().map_err(|e| Failure::Model(e.into()))?;
        Ok(Provenance {
            model: Some(checkpoint.origin().model.clone()),
            model_revision: checkpoint.origin().revision.clone(),
            note: checkpoint.origin().note.map(str::to_string),
            model_sha256: Some(sha256.to_string()),
            scaling: config.scaling.clone(),
            scaled: Some(scaled),
            ..Provenance::default()
        })
    }
}

impl<M: ?Sized> LoadedHalf<M> {
    /// Returns the half on a device. Loads it if it is not there, after the weights on another device are freed.
    fn on(&self, device: &Device, checkpoint: &Checkpoint) -> Result<Rc<M>> {
        let mut loaded = self.model.borrow_mut();
        if let Some((on, model)) = &*loaded
            && (on.is_cpu(), on.precision()) == (device.is_cpu(), device.precision())
        {
            return Ok(model.clone());
        }
        *loaded = None;
        let model = (self.load)(device, checkpoint.config(), checkpoint.parameters()).map_err(unloadable)?;
        let model: Rc<M> = model.into();
        *loaded = Some((device.clone(), model.clone()));
        Ok(model)
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
