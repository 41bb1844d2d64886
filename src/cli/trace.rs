//! `--trace`: what every stage makes, as it happens; the tutorial's prints, with numbers.

use std::fmt;
use std::time::Instant;

use candle_core::{DType, Tensor};
use serde::Serialize;

use vae::kernels::{FeatureMap, Shape};
use vae::model::Observer;
use vae::numbers::column;
use vae::statistics::Statistics;

use super::report::Ui;

/// What one stage made.
#[derive(Debug, Serialize)]
pub struct Row {
    name: String,
    shape: Vec<usize>,
    dtype: &'static str,
    #[serde(flatten)]
    values: Statistics,
    /// Milliseconds since the stage before.
    ms: f64,
}

/// Collects rows for `--json`, or says them to a person; or does nothing, where nobody asked.
pub struct Trace<'a> {
    asked: bool,
    ui: &'a Ui,
    rows: Vec<Row>,
    clock: Instant,
}

impl<'a> Trace<'a> {
    /// A trace of one input; with a table's head, if the user asked for one.
    pub fn new(asked: bool, ui: &'a Ui) -> Self {
        if asked && !ui.json() {
            ui.note(&format!(
                "{:<24}{:<21}{:<6}{:>10}{:>10}{:>10}{:>10}{:>10}",
                "stage", "shape", "dtype", "mean", "std", "min", "max", "ms"
            ));
        }
        Self { asked, ui, rows: Vec::new(), clock: Instant::now() }
    }

    /// Starts the clock of the next stage: what was done until now belongs to none.
    pub fn restart(&mut self) {
        self.clock = Instant::now();
    }

    /// The stage `name` made a tensor.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> candle_core::Result<()> {
        if self.asked {
            let ms = self.lap();
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let values = Statistics::of(values.iter().copied());
            self.add(Row {
                name: name.into(),
                shape: tensor.dims().to_vec(),
                dtype: tensor.dtype().as_str(),
                values,
                ms,
            });
        }
        Ok(())
    }

    /// The rows, for a record.
    pub fn into_rows(self) -> Option<Vec<Row>> {
        (self.asked && self.ui.json()).then_some(self.rows)
    }

    fn lap(&self) -> f64 {
        (self.clock.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }

    fn add(&mut self, row: Row) {
        if !self.ui.json() {
            self.ui.note(&row.to_string());
        }
        self.rows.push(row);
        self.restart(); // statistics are not the next stage's work
    }
}

impl Observer for Trace<'_> {
    fn block(&mut self, name: fmt::Arguments, map: &FeatureMap) {
        if self.asked {
            let ms = self.lap();
            let Shape { channels, height, width } = map.shape();
            self.add(Row {
                name: name.to_string(),
                shape: vec![1, channels, height, width],
                dtype: map.engine().map_or(DType::F32.as_str(), |engine| engine.element().name()),
                values: Statistics::of(map.values()),
                ms,
            });
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statistics { mean, std, min, max, nan, inf, .. } = self.values;
        let (name, shape, dtype, ms) = (&self.name, format!("{:?}", self.shape), self.dtype, self.ms);
        write!(f, "{name:<24}{shape:<21}{dtype:<6}")?;
        for x in [mean, std, min.into(), max.into()] {
            write!(f, "{:>10}", column(x))?;
        }
        write!(f, "{ms:>10.1}")?;
        if nan + inf > 0 {
            write!(f, "  {nan} NaN, {inf} Inf")?;
        }
        Ok(())
    }
}
