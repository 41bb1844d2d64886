//! The devices and precisions in which a picture is tried, one after the other, until one gives finite values.
//!
//! On a CUDA device the order is f16, bf16, f32. With `--device auto`, the CPU follows if the device has too little memory for a
//! picture, or fails. What was found out holds for the next pictures too: a precision that overflowed is not tried again, and a
//! device that failed is not used again. A lack of memory concerns one picture alone.

use std::cell::{Cell, RefCell};

use anyhow::Result;

use vae::checkpoint::Checkpoint;
use vae::device::{Device, DeviceChoice, Fault, Precision};

use super::args::ModelArgs;
use super::failure::Failure;
use super::message::message;
use super::ui::Ui;

/// The devices of a run.
pub struct Attempts<'a> {
    ui: &'a Ui,
    chosen: Device,
    /// The same device in other precisions.
    others: RefCell<Vec<Device>>,
    /// The CPU, if it may replace the device.
    fallback: Option<Device>,
    /// Whether the precision was chosen by `--dtype`. Then every picture starts in it, whatever happened before.
    fixed: bool,
    /// Whether a note about `force_upcast` has been printed.
    upcast_noted: Cell<bool>,
    /// Whether the device failed.
    failed: Cell<bool>,
    /// The device that computes, or that will compute the next picture.
    current: RefCell<Device>,
}

/// What is known about one half of a model.
pub struct Half {
    name: &'static str,
    /// The precision in which the next picture starts, if it is known.
    precision: Cell<Option<Precision>>,
    /// Whether a warning about an overflow has been printed.
    warned: Cell<bool>,
}

impl<'a> Attempts<'a> {
    /// Chooses the device.
    pub fn new(args: &ModelArgs, ui: &'a Ui) -> Result<Self, Failure> {
        let precision = args.dtype.precision();
        let (chosen, notes) = Device::choose(args.device, precision).map_err(Failure::Usage)?;
        for note in notes {
            ui.note(&format!("note: {note}"));
        }
        let replaceable = args.device == DeviceChoice::Auto && !chosen.is_cpu();
        let cpu = || Device::choose(DeviceChoice::Cpu, None).map(|(cpu, _)| cpu);
        Ok(Self {
            ui,
            current: chosen.clone().into(),
            chosen,
            others: RefCell::default(),
            fallback: replaceable.then(cpu).transpose().map_err(Failure::Usage)?,
            fixed: precision.is_some(),
            upcast_noted: Cell::new(false),
            failed: Cell::new(false),
        })
    }

    /// The device that was chosen at the start of the run.
    pub fn chosen(&self) -> &Device {
        &self.chosen
    }

    /// The device that computes, or that will compute the next picture. Its precision may change before.
    pub fn device(&self) -> Device {
        self.current.borrow().clone()
    }

    /// Calls `attempt` with one device after the other, until one computes a result.
    pub fn run<T>(
        &self,
        half: &Half,
        checkpoint: &Checkpoint,
        mut attempt: impl FnMut(&Device) -> Result<T>,
    ) -> Result<T> {
        let mut precision = self.first_precision(half, checkpoint);
        let mut on_cpu = self.failed.get();
        let mut freed = false;
        let result = loop {
            let error = match self.start(precision, on_cpu).and_then(|device| attempt(&device)) {
                Ok(value) => break Ok(value),
                Err(error) => error,
            };
            match fault(&error) {
                Some(Fault::NotFinite(narrow)) if narrow.safer().is_some() && !on_cpu => {
                    precision = narrow.safer().unwrap_or(narrow);
                    self.overflowed(half, checkpoint, narrow, precision);
                }
                Some(Fault::OutOfMemory) if !freed && !on_cpu => {
                    self.release(); // the memory of earlier pictures may be enough
                    freed = true;
                }
                Some(fault @ (Fault::OutOfMemory | Fault::TooLarge | Fault::Failed))
                    if self.fallback.is_some() && !on_cpu =>
                {
                    on_cpu = true;
                    self.failed.set(fault == Fault::Failed);
                    let rest = if self.failed.get() { "from here on" } else { "for this picture" };
                    self.ui.note(&format!("warning: computing on the CPU {rest}: {}", message(&error)));
                    self.release();
                }
                _ => break Err(error),
            }
        };
        if on_cpu && !self.failed.get() {
            self.device().release(); // the next picture is tried on the device again
            self.current.replace(self.chosen.clone());
        }
        result
    }

    /// Starts the device in a precision, or returns the CPU.
    fn start(&self, precision: Precision, on_cpu: bool) -> Result<Device> {
        let device = match &self.fallback {
            Some(cpu) if on_cpu => cpu.clone(),
            _ => self.in_precision(precision)?,
        };
        self.current.replace(device.clone());
        Ok(device)
    }

    fn in_precision(&self, precision: Precision) -> Result<Device> {
        let is_wanted = |device: &&Device| device.precision() == precision;
        let known = self.others.borrow().iter().chain([&self.chosen]).find(is_wanted).cloned();
        if let Some(device) = known {
            return Ok(device);
        }
        let device = self.chosen.in_precision(precision).map_err(candle_core::Error::from)?;
        self.others.borrow_mut().push(device.clone());
        Ok(device)
    }

    /// The precision in which a picture starts: the chosen one; unless `--dtype` chose it, f32 for a model with `force_upcast`, or
    /// the one that followed an overflow, in this run or in an earlier one.
    fn first_precision(&self, half: &Half, checkpoint: &Checkpoint) -> Precision {
        let chosen = self.chosen.precision();
        if self.fixed || self.chosen.is_cpu() {
            return chosen;
        }
        if let Some(precision) = half.precision.get() {
            return precision;
        }
        let mut first = chosen;
        if checkpoint.config().force_upcast {
            first = Precision::F32;
            if !self.upcast_noted.replace(true) {
                self.ui.note(
                    "note: computing in f32, because the model's config has force_upcast; --dtype overrides",
                );
            }
        } else if let Some(known) =
            half.key(checkpoint).and_then(|key| self.chosen.remembered_precision(&key))
        {
            first = known;
            let name = half.name;
            self.ui.note(&format!(
                "note: the {name} computes in {known}, because {chosen} overflowed in an earlier run; --dtype overrides"
            ));
        }
        half.precision.set(Some(first));
        first
    }

    /// Warns once per run, and remembers the safer precision.
    fn overflowed(&self, half: &Half, checkpoint: &Checkpoint, narrow: Precision, safer: Precision) {
        if !half.warned.replace(true) {
            let (name, next) = (half.name, if self.fixed { "" } else { ", and the next pictures too" });
            self.ui.note(&format!(
                "warning: {narrow} gave NaN or infinite values in the {name}; computing again in {safer}{next}"
            ));
        }
        if !self.fixed {
            half.precision.set(Some(safer));
            if let Some(key) = half.key(checkpoint) {
                self.chosen.remember_precision(&key, safer);
            }
        }
        self.release(); // the next attempt needs the memory
    }

    /// Frees the memory that all devices keep for later pictures.
    fn release(&self) {
        let others = self.others.borrow();
        others.iter().chain([&self.chosen]).chain(&self.fallback).for_each(Device::release);
    }
}

impl Half {
    /// `name` is that of messages: `encoder` or `decoder`.
    pub fn new(name: &'static str) -> Self {
        Self { name, precision: Cell::default(), warned: Cell::default() }
    }

    /// What an overflow is remembered under.
    fn key(&self, checkpoint: &Checkpoint) -> Option<String> {
        Some(format!("the {} of {}", self.name, checkpoint.sha256().ok()?))
    }
}

fn fault(error: &anyhow::Error) -> Option<Fault> {
    Fault::of(error.downcast_ref()?)
}
