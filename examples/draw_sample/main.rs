//! Draws `assets/sample.png`: a fox who paints the lake at sunset.
//!
//! `cargo run --release --example draw_sample -- assets/sample.png`

mod canvas;
mod clothes;
mod easel;
mod face;
mod features;
mod fox;
mod fur;
mod land;
mod lettering;
mod meadow;
mod palette;
mod shapes;
mod sky;

use std::{fs::File, io::BufWriter};

use anyhow::{Context, Result};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use tiny_skia::Pixmap;

use canvas::Canvas;

/// Size of the picture in pixels.
const WIDTH: u32 = 768;
const HEIGHT: u32 = 512;

/// Oversampling factor along each axis.
const OVERSAMPLING: u32 = 2;

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).context("usage: draw_sample <file.png>")?;
    let mut canvas = Canvas::new(WIDTH, HEIGHT, OVERSAMPLING).context("cannot create the canvas")?;
    paint_scene(&mut canvas);
    let pixels = reduce(canvas.pixmap());
    let file = BufWriter::new(File::create(&path)?);
    PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive).write_image(
        &pixels,
        WIDTH,
        HEIGHT,
        ExtendedColorType::Rgb8,
    )?;
    Ok(())
}

/// Paints the scene from back to front.
fn paint_scene(canvas: &mut Canvas) {
    sky::paint(canvas);
    land::mountains(canvas);
    land::lake(canvas);
    land::shore(canvas);
    meadow::ground(canvas);
    let view = canvas.pixmap().clone();
    sky::branch(canvas);
    easel::paint(canvas, &view);
    easel::crate_of_paints(canvas);
    fox::tail(canvas);
    fox::body(canvas);
    face::paint(canvas);
    clothes::scarf(canvas);
    fox::paw(canvas);
    meadow::foreground(canvas);
    sky::evening_light(canvas);
}

/// Averages the oversampled pixels down to the RGB pixels of the picture.
fn reduce(pixmap: &Pixmap) -> Vec<u8> {
    let (stride, side) = (pixmap.width() as usize * 4, OVERSAMPLING as usize);
    let data = pixmap.data();
    let mut out = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
    for y in 0..HEIGHT as usize {
        for x in 0..WIDTH as usize {
            for channel in 0..3 {
                let cell = (0..side * side).map(|i| {
                    let (row, column) = (y * side + i / side, x * side + i % side);
                    usize::from(data[row * stride + column * 4 + channel])
                });
                out.push(((cell.sum::<usize>() + side * side / 2) / (side * side)) as u8);
            }
        }
    }
    out
}
