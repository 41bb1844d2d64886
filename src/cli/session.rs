//! The model and the device of a run. The device is chosen at once; the model is opened when first needed, so that
//! a picture that cannot be read costs no download.

use std::cell::OnceCell;

use anyhow::{Context, anyhow};
use candle_core::Tensor;

use vae::checkpoint::{Checkpoint, Hub, Precision, Source};
use vae::device::Compute;
use vae::kernels::SharedWorkspace;
use vae::latents::{Provenance, Scaling};
use vae::model::{Config, LatentDecoder, PictureEncoder};

use super::args::ModelArgs;
use super::failure::Failure;
use super::report::Ui;

pub struct Session<'a> {
    source: Source,
    args: &'a ModelArgs,
    ui: &'a Ui,
    compute: Compute,
    checkpoint: OnceCell<Checkpoint>,
    encoder: OnceCell<PictureEncoder>,
    decoder: OnceCell<LatentDecoder>,
    space: SharedWorkspace,
}

impl<'a> Session<'a> {
    /// Chooses the device. `default` is the model where the user named none.
    pub fn new(args: &'a ModelArgs, default: Source, ui: &'a Ui) -> Result<Self, Failure> {
        let compute = Compute::choose(args.device, args.dtype.dtype()).map_err(Failure::Usage)?;
        if let Some(note) = &compute.note {
            ui.note(&format!("note: {note}"));
        }
        let (checkpoint, encoder, decoder) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let space = SharedWorkspace::new().map_err(|e| Failure::Usage(e.to_string()))?;
        if let Some(threads) = args.threads {
            limit_threads(threads.get())?;
        }
        let source = args.model.clone().unwrap_or(default);
        if args.revision.is_some() && matches!(source, Source::Tiny | Source::Path(_)) {
            return Err(Failure::Usage("--revision is for models on the hub".into()));
        }
        Ok(Self { source, args, ui, compute, checkpoint, encoder, decoder, space })
    }

    /// The checkpoint, opened (and downloaded) the first time.
    pub fn checkpoint(&self) -> Result<&Checkpoint, Failure> {
        get_or_try_init(&self.checkpoint, || {
            let hub = Hub { progress: self.ui.shows_progress(), ..Hub::from_env() };
            let precision = Precision::for_dtype(self.compute.dtype);
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

    /// The checkpoint's config.
    pub fn config(&self) -> Result<&Config, Failure> {
        Ok(self.checkpoint()?.config())
    }

    /// The encoding half, made the first time.
    pub fn encoder(&self) -> Result<&PictureEncoder, Failure> {
        let checkpoint = self.checkpoint()?;
        get_or_try_init(&self.encoder, || {
            PictureEncoder::new(checkpoint.config(), checkpoint.parameters(), &self.space).map_err(unfit)
        })
    }

    /// The decoding half, made the first time.
    pub fn decoder(&self) -> Result<&LatentDecoder, Failure> {
        let checkpoint = self.checkpoint()?;
        get_or_try_init(&self.decoder, || {
            LatentDecoder::new(checkpoint.config(), checkpoint.parameters(), &self.space).map_err(unfit)
        })
    }

    /// A tensor as the model takes it.
    pub fn to_model(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        tensor.to_device(&self.compute.device)?.to_dtype(self.compute.dtype)
    }

    /// What latents of this model say of their origin.
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

fn limit_threads(threads: usize) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|e| Failure::Usage(format!("--threads {threads}: {e}")))
}

fn unfit(e: candle_core::Error) -> Failure {
    Failure::Model(anyhow!(e).context("the weights do not fit the config"))
}

fn get_or_try_init<T>(cell: &OnceCell<T>, init: impl FnOnce() -> Result<T, Failure>) -> Result<&T, Failure> {
    if cell.get().is_none() {
        let value = init()?;
        cell.set(value).ok().context("initialised once").map_err(Failure::Model)?;
    }
    cell.get().context("just initialised").map_err(Failure::Model)
}
