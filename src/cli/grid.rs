//! `vae grid`: pictures in rows and columns.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use vae::figure::grid::Layout;
use vae::figure::{Canvas, FigureError, Grid};
use vae::picture::{Background, Picture};

use super::args::GridArgs;
use super::failure::Failure;
use super::jobs::{self, Input};
use super::memory::{self, Size, Work};
use super::message::message;
use super::output::Destination;
use super::read::Wanted;
use super::record::Record;
use super::show::Screen;
use super::ui::Ui;
use super::unused;

/// The JSON of `vae grid`.
#[derive(Serialize)]
struct GridReport {
    inputs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    rows: usize,
    cols: usize,
    width: usize,
    height: usize,
}

pub fn run(args: &GridArgs, ui: &Ui) -> Result<(), Failure> {
    let inputs = jobs::inputs(&args.inputs)?;
    let mut destination = match &args.output {
        Some(path) => jobs::named_destination(path, &inputs, ui)?,
        None => Destination::fresh(Path::new("grid.png")),
    };
    let format = destination.picture_format(args.quality.value())?;
    let (rows, cols) = (args.rows.map(usize::from), args.cols.map(usize::from));
    let layout = Layout::new(inputs.len(), rows, cols).map_err(|e| Failure::Usage(e.to_string()))?;
    let screen = Screen::open(&args.show, [&destination], ui);
    screen.replace_unnamed([&mut destination]);
    unused::check_quality(&args.quality, [&destination], ui);

    let (layout, canvas) = draw(&inputs, layout, args, ui)?;
    let write = || -> Result<()> {
        if destination != Destination::Nowhere {
            destination.write(&canvas.to_file_bytes(format)?)?;
        }
        screen.show(canvas.rgb8(), (canvas.width(), canvas.height()), ui);
        report(&inputs, &destination, layout, ui)
    };
    write().map_err(Failure::Output)
}

/// A picture of the grid whose header has been read.
struct Cell<'a> {
    input: &'a Input,
    /// The number of bytes of the file.
    file: usize,
    size: Size,
    /// The content of a pipe, which cannot be read twice.
    bytes: Option<Vec<u8>>,
}

impl<'a> Cell<'a> {
    fn open(input: &'a Input) -> Result<Self> {
        let bytes = input.bytes(Wanted::Picture)?;
        let (file, size) = (bytes.len(), Picture::size_of(&bytes)?);
        let is_file = input.path().is_some_and(Path::is_file);
        Ok(Self { input, file, size, bytes: Some(bytes).filter(|_| !is_file) })
    }

    /// Fails if there is not enough memory to read the picture and to draw it on a canvas of this size.
    fn check_memory(&self, canvas: Size) -> Result<()> {
        memory::check(Work::Read { file: self.file, original: self.size, canvas }, None)
    }

    fn read(self, background: Background) -> Result<Picture> {
        let bytes = self.bytes.map_or_else(|| self.input.bytes(Wanted::Picture), Ok)?;
        if Picture::size_of(&bytes)? != self.size {
            bail!("the file changed while it was being processed: run the command again");
        }
        Ok(Picture::from_bytes(&bytes, background)?)
    }
}

/// Draws the grid. All headers are read before any picture, so that a grid that is too large fails early. One picture at a
/// time is in memory.
fn draw(inputs: &[Input], mut layout: Layout, args: &GridArgs, ui: &Ui) -> Result<(Layout, Canvas), Failure> {
    let mut cells = Vec::with_capacity(inputs.len());
    for input in inputs {
        let cell = Cell::open(input).or_else(|e| report_error(input, e, ui))?;
        layout.make_room(cell.size).map_err(too_large)?;
        cells.push(cell);
    }
    for cell in &cells {
        cell.check_memory(layout.size()).or_else(|e| report_error(cell.input, e, ui))?;
    }
    let mut grid = Grid::new(layout, args.background.0).map_err(too_large)?;
    for cell in cells {
        let input = cell.input;
        grid.add(&cell.read(args.background).or_else(|e| report_error(input, e, ui))?);
    }
    Ok((layout, grid.into_canvas()))
}

fn too_large(error: FigureError) -> Failure {
    Failure::Output(error.into())
}

/// Reports a picture that cannot be read, which ends the run.
fn report_error<T>(input: &Input, error: anyhow::Error, ui: &Ui) -> Result<T, Failure> {
    let record = Record { input: input.name(), error: Some(message(&error)), ..Record::default() };
    ui.report(&record).map_err(Failure::Output)?;
    Err(Failure::Inputs { failed: vec![input.name()], of: 1 })
}

fn report(inputs: &[Input], destination: &Destination, layout: Layout, ui: &Ui) -> Result<()> {
    let (Layout { rows, cols, .. }, (width, height)) = (layout, layout.size());
    let output = destination.name();
    let name = output.as_deref().unwrap_or("the terminal");
    ui.note(&format!("{} pictures → {name}  {rows} × {cols} cells  {width}×{height}", inputs.len()));
    let inputs = inputs.iter().map(Input::name).collect();
    ui.object(&GridReport { inputs, output, rows, cols, width, height })
}
