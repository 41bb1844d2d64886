//! The device and the model of a run. The device is chosen at the start. The model is opened when it is first needed, so
//! that an unreadable picture causes no download.

use std::cell::OnceCell;
use std::iter::successors;

use anyhow::{Context, Result, anyhow};

use vae::checkpoint::{Checkpoint, Hub, Precision, Source};
use vae::device::Compute;
use vae::kernels::SharedWorkspace;
use vae::kernels::cuda::{CudaError, Element, Engine};
use vae::latents::{Provenance, Scaling};
use vae::model::{Config, LatentDecoder, PictureEncoder};

use super::args::ModelArgs;
use super::failure::Failure;
use super::memory::{self, Work};
use super::record::{ModelTiming, Stages, timed};
use super::ui::Ui;

pub struct Session<'a> {
    source: Source,
    args: &'a ModelArgs,
    ui: &'a Ui,
    checkpoint: OnceCell<Checkpoint>,
    /// The chosen device, and then the same CUDA device in safer precisions.
    places: [OnceCell<Place>; 3],
}

/// A workspace, and the halves of the model that use it.
struct Place {
    space: SharedWorkspace,
    encoder: OnceCell<PictureEncoder>,
    decoder: OnceCell<LatentDecoder>,
}

impl<'a> Session<'a> {
    /// Chooses the device. `default` is the model without `--model`.
    pub fn new(args: &'a ModelArgs, default: Source, ui: &'a Ui) -> Result<Self, Failure> {
        let compute = Compute::choose(args.device, args.dtype.element()).map_err(Failure::Usage)?;
        for note in &compute.notes {
            ui.note(&format!("note: {note}"));
        }
        if let Some(threads) = args.threads {
            limit_threads(threads.get())?;
        }
        let source = args.model.clone().unwrap_or(default);
        if args.revision.is_some() && matches!(source, Source::Tiny | Source::Path(_)) {
            return Err(Failure::Usage("--revision is for models on the hub".into()));
        }
        let places = [Place::new(compute.space).into(), OnceCell::new(), OnceCell::new()];
        Ok(Self { source, args, ui, checkpoint: OnceCell::new(), places })
    }

    /// Returns the checkpoint. The first call opens it, and downloads it if necessary.
    pub fn checkpoint(&self) -> Result<&Checkpoint, Failure> {
        get_or_try_init(&self.checkpoint, || {
            let hub = Hub { progress: self.ui.shows_progress(), ..Hub::from_env() };
            let precision = match self.element()? {
                Some(Element::F16 | Element::Bf16) => Precision::Half,
                Some(Element::F32) | None => Precision::Full,
            };
            let revision = self.args.revision.as_deref();
            let checkpoint = self
                .ui
                .suspend(|| Checkpoint::open(&self.source, revision, precision, &hub))
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
    pub fn encode<T>(
        &self,
        stages: &mut Stages,
        work: impl FnMut(&PictureEncoder) -> Result<T>,
    ) -> Result<T> {
        self.carefully(stages, |stages| &mut stages.encode, Place::encoder, work)
    }

    /// Runs `work` on the decoding half, with the same retries.
    pub fn decode<T>(&self, stages: &mut Stages, work: impl FnMut(&LatentDecoder) -> Result<T>) -> Result<T> {
        self.carefully(stages, |stages| &mut stages.decode, Place::decoder, work)
    }

    fn carefully<M, T>(
        &self,
        stages: &mut Stages,
        half: fn(&mut Stages) -> &mut ModelTiming,
        model: for<'p> fn(&'p Place, &Checkpoint) -> Result<&'p M, Failure>,
        mut work: impl FnMut(&M) -> Result<T>,
    ) -> Result<T> {
        let mut attempt = 0;
        loop {
            let place = self.place(attempt)?;
            let checkpoint = timed(&mut stages.load_ms, || self.checkpoint())?;
            let model = timed(&mut stages.load_ms, || model(place, checkpoint))?;
            let half = half(stages);
            half.dtype = place.space.engine().map(|engine| engine.element().name());
            let result = timed(&mut half.ms, || work(model));
            let Some((element, safer)) = result.as_ref().err().and_then(overflow) else { return result };
            self.ui.note(&format!(
                "warning: {element} gave NaN or infinite values; computing again in {safer}, which takes longer"
            ));
            place.space.release(); // the next attempt needs the memory
            attempt += 1;
        }
    }

    /// Returns the place of an attempt. Each attempt after the first has a safer precision.
    fn place(&self, attempt: usize) -> Result<&Place> {
        if let Some(place) = self.places[attempt].get() {
            return Ok(place);
        }
        let first = self.places[0].get().and_then(|place| place.space.engine());
        let engine = first.context("the CPU has only one attempt")?;
        let element = successors(Some(engine.element()), |element| element.safer())
            .nth(attempt)
            .context("no precision is safer than f32")?;
        let place = Place::new(SharedWorkspace::on(Engine::new(engine.device(), element)?));
        Ok(self.places[attempt].get_or_init(|| place))
    }

    /// Returns the precision of the CUDA device, or `None` on the CPU.
    fn element(&self) -> Result<Option<Element>, Failure> {
        let place = self.place(0).map_err(Failure::Model)?;
        Ok(place.space.engine().map(|engine| engine.element()))
    }

    /// Fails if a picture with `pixels` does not fit into the CPU's memory. A CUDA device reports this by itself.
    pub fn check_memory(&self, work: Work, pixels: u64) -> Result<()> {
        match self.element()? {
            Some(_) => Ok(()),
            None => memory::check(work, self.config()?, pixels),
        }
    }

    /// Returns the provenance of latents of this model.
    pub fn provenance(&self) -> Result<Provenance, Failure> {
        let checkpoint = self.checkpoint()?;
        let config = checkpoint.config();
        Ok(Provenance {
            model: Some(checkpoint.origin().model.clone()),
            model_revision: checkpoint.origin().revision.clone(),
            note: checkpoint.origin().note.map(str::to_string),
            model_sha256: Some(checkpoint.weights().sha256().to_string()),
            scaling: Some(Scaling {
                factor: config.scaling_factor,
                shift: config.shift_factor.unwrap_or(0.0),
                scaled: true,
            }),
            ..Provenance::default()
        })
    }
}

impl Place {
    fn new(space: SharedWorkspace) -> Self {
        Self { space, encoder: OnceCell::new(), decoder: OnceCell::new() }
    }

    /// Returns the encoding half. The first call loads it.
    fn encoder(&self, checkpoint: &Checkpoint) -> Result<&PictureEncoder, Failure> {
        get_or_try_init(&self.encoder, || {
            PictureEncoder::new(checkpoint.config(), checkpoint.parameters(), &self.space).map_err(unfit)
        })
    }

    /// Returns the decoding half. The first call loads it.
    fn decoder(&self, checkpoint: &Checkpoint) -> Result<&LatentDecoder, Failure> {
        get_or_try_init(&self.decoder, || {
            LatentDecoder::new(checkpoint.config(), checkpoint.parameters(), &self.space).map_err(unfit)
        })
    }
}

/// Returns the precision that overflowed, and the next safer one. Returns `None` for other errors and after f32.
fn overflow(error: &anyhow::Error) -> Option<(Element, Element)> {
    match CudaError::of(error.downcast_ref()?)? {
        CudaError::NotFinite { element } => Some((*element, element.safer()?)),
        _ => None,
    }
}

fn limit_threads(threads: usize) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|e| Failure::Usage(format!("--threads {threads}: {e}")))
}

fn unfit(e: candle_core::Error) -> Failure {
    Failure::Model(anyhow!(e).context("the weights do not match the config"))
}

fn get_or_try_init<T>(cell: &OnceCell<T>, init: impl FnOnce() -> Result<T, Failure>) -> Result<&T, Failure> {
    if cell.get().is_none() {
        let value = init()?;
        cell.set(value).ok().context("initialised once").map_err(Failure::Model)?;
    }
    cell.get().context("just initialised").map_err(Failure::Model)
}
