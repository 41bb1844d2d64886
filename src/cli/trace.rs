//! `--trace`: prints the shape, the statistics and the time of every stage while it runs.

use std::fmt;
use std::time::Instant;

use candle_core::{DType, Tensor};

use vae::model::{FeatureMap, Observer};
use vae::statistics::Statistics;

use super::record::TraceRow;
use super::ui::Ui;

/// Prints one row for each stage, or collects the rows for `--json`. Does nothing without `--trace`.
pub struct Trace<'a> {
    enabled: bool,
    ui: &'a Ui,
    rows: Vec<TraceRow>,
    clock: Instant,
}

impl<'a> Trace<'a> {
    /// Starts the trace of one input, and prints the header of its table.
    pub fn new(enabled: bool, ui: &'a Ui) -> Self {
        if enabled && !ui.json() {
            ui.row(&TraceRow::header());
        }
        Self { enabled, ui, rows: Vec::new(), clock: Instant::now() }
    }

    /// Starts the clock of the next stage, so that earlier work is not counted.
    pub fn restart(&mut self) {
        self.clock = Instant::now();
    }

    /// Adds the tensor that the stage `name` computed.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> candle_core::Result<()> {
        if self.enabled {
            let ms = self.lap();
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            self.add(TraceRow {
                name: name.into(),
                shape: tensor.dims().to_vec(),
                dtype: tensor.dtype().as_str(),
                values: Statistics::of(&values),
                ms,
            });
        }
        Ok(())
    }

    /// Returns the rows, if JSON output needs them.
    pub fn into_rows(self) -> Option<Vec<TraceRow>> {
        (self.enabled && self.ui.json()).then_some(self.rows)
    }

    fn lap(&self) -> f64 {
        (self.clock.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }

    fn add(&mut self, row: TraceRow) {
        if !self.ui.json() {
            self.ui.row(&row.to_string());
        }
        self.rows.push(row);
        self.restart(); // the statistics do not count as the next stage's time
    }
}

impl Observer for Trace<'_> {
    fn block(&mut self, name: fmt::Arguments, map: &dyn FeatureMap) -> candle_core::Result<()> {
        if self.enabled {
            map.wait()?;
            let ms = self.lap();
            let shape = map.shape();
            self.add(TraceRow {
                name: name.to_string(),
                shape: vec![1, shape.channels, shape.height, shape.width],
                dtype: map.precision().name(),
                values: Statistics::of_slices(|visit| map.visit(visit))?,
                ms,
            });
        }
        Ok(())
    }
}
