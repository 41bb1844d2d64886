//! The layouts of figures, painted with synthetic pictures and latents, so that they depend on no model.

use candle_core::{Device, Tensor};

use vae::figure::grid::Layout;
use vae::figure::{Canvas, Grid, Roundtrip, Sweep, Theme};
use vae::picture::Picture;

use crate::support::looks::assert_looks_like;

/// Coloured bands with a dark frame, which reveal clipped edges and wrong proportions; `error` shifts some of them.
fn picture(width: usize, height: usize, error: usize) -> Picture {
    let pixel = |x: usize, y: usize| {
        let edge = x == 0 || y == 0 || x == width - 1 || y == height - 1;
        let (across, down) = ((x + error) * 6 / width * 36, (y + error / 2) * 4 / height * 60);
        if edge { [40, 40, 40] } else { [across as u8, 200 - down.min(200) as u8, 150] }
    };
    let bytes: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    Picture::from_rgb8(width, height, &bytes)
}

/// Latents with a slope of a different steepness in each channel.
fn latents(channels: usize, height: usize, width: usize) -> Tensor {
    let value = |c: usize, y: usize, x: usize| {
        (x as f32 / width as f32 - 0.4) * (c + 1) as f32 + ((x * 3 + y * 5) % 7) as f32 / 4.0
            - y as f32 / height as f32
    };
    let values: Vec<f32> = (0..channels)
        .flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| value(c, y, x))))
        .collect();
    Tensor::from_vec(values, (1, channels, height, width), &Device::Cpu).expect("latents")
}

fn roundtrip(name: &str, (width, height): (usize, usize), channels: usize, theme: Theme) -> Canvas {
    let (original, decoded) = (picture(width, height, 0), picture(width, height, 3));
    let latents = latents(channels, height / 8, width / 8);
    let noise = (channels == 16).then_some(0.45999999999999996);
    let figure = Roundtrip { name, original: &original, decoded: &decoded, latents: &latents, noise };
    figure.draw(theme).expect("a figure")
}

#[test]
fn roundtrips_of_all_shapes_look_as_before() {
    let landscape = (96, 64);
    assert_looks_like("roundtrip-light", &roundtrip("bands.png", landscape, 4, Theme::Light));
    assert_looks_like("roundtrip-dark", &roundtrip("bands.png", landscape, 4, Theme::Dark));
    assert_looks_like(
        "roundtrip-tall",
        &roundtrip("a-name-that-is-too-long.png", (32, 160), 4, Theme::Light),
    );
    assert_looks_like("roundtrip-wide", &roundtrip("Größe, мост.png", (256, 32), 4, Theme::Dark));
    assert_looks_like("roundtrip-tiny", &roundtrip("32.png", (32, 32), 4, Theme::Light));
    assert_looks_like("roundtrip-large", &roundtrip("large.png", (1600, 1056), 4, Theme::Light));
    assert_looks_like("roundtrip-16-channels", &roundtrip("sixteen.png", (128, 96), 16, Theme::Light));
}

#[test]
fn equal_pictures_have_no_psnr() {
    let original = picture(64, 32, 0);
    let latents = Tensor::zeros((1, 4, 4, 8), candle_core::DType::F32, &Device::Cpu).expect("latents");
    let (name, noise) = ("same.png", None);
    let figure = Roundtrip { name, original: &original, decoded: &original, latents: &latents, noise };
    assert_looks_like("roundtrip-equal", &figure.draw(Theme::Light).expect("a figure"));
}

/// The texts of the largest values are wider than plates of a tall picture.
#[test]
fn latents_of_any_size_have_a_figure() {
    for (width, height) in [(64, 256), (256, 64), (32, 32), (8, 1024)] {
        for (value, channels) in
            [(1e16, 4), (1e30, 4), (-1e34, 16), (f32::MAX, 4), (f32::NAN, 4), (f32::INFINITY, 4)]
        {
            let (original, decoded) = (picture(width, height, 0), picture(width, height, 3));
            let values: Vec<f32> =
                (0..channels * height / 8 * (width / 8)).map(|i| [value, -value][i % 2]).collect();
            let latents = Tensor::from_vec(values, (1, channels, height / 8, width / 8), &Device::Cpu);
            let latents = latents.expect("latents");
            let figure = Roundtrip {
                name: "x",
                original: &original,
                decoded: &decoded,
                latents: &latents,
                noise: Some(1e300),
            };
            let canvas = figure.draw(Theme::Light).expect("a figure");
            assert!(canvas.width() < 4096 && canvas.height() < 4096, "{width}×{height}, {value}");
        }
    }
}

fn sweep(size: (usize, usize), levels: &[f64], theme: Theme) -> Canvas {
    let original = picture(size.0, size.1, 0);
    let mut sweep = Sweep::new("bands.png", &original, levels.len()).expect("a figure");
    for (i, &level) in levels.iter().enumerate() {
        let psnr = sweep.add(level, &picture(size.0, size.1, 2 * i));
        assert_eq!(psnr.is_finite(), i > 0);
    }
    sweep.draw(theme).expect("a figure")
}

#[test]
fn sweeps_of_all_shapes_look_as_before() {
    let six = [0.1, 0.28, 0.45999999999999996, 0.64, 0.82, 1.0];
    assert_looks_like("sweep-light", &sweep((96, 64), &six, Theme::Light));
    assert_looks_like("sweep-dark", &sweep((96, 64), &six, Theme::Dark));
    assert_looks_like("sweep-tall", &sweep((32, 160), &[0.5, 1.0], Theme::Light));
    assert_looks_like("sweep-wide", &sweep((640, 96), &[0.5, 1.0, 2.0], Theme::Light));
}

fn grid(pictures: &[Picture], rows: Option<usize>, cols: Option<usize>) -> Canvas {
    let mut layout = Layout::new(pictures.len(), rows, cols).expect("a layout");
    pictures.iter().for_each(|p| layout.make_room((p.width(), p.height())).expect("room"));
    let mut grid = Grid::new(layout, [0; 3]).expect("a grid");
    pictures.iter().for_each(|p| grid.add(p));
    grid.into_canvas()
}

/// The tutorial's `grid.paste(img, box=(i%cols*w, i//cols*h))` on black, pixel by pixel.
#[test]
fn pictures_of_equal_size_are_pasted_as_in_the_tutorial() {
    let (w, h) = (7, 5);
    let pictures: Vec<Picture> = (0..5).map(|i| picture(w, h, i)).collect();
    for (given, (rows, cols)) in
        [((None, None), (2, 3)), ((Some(1), None), (1, 5)), ((None, Some(2)), (3, 2))]
    {
        let canvas = grid(&pictures, given.0, given.1);
        assert_eq!((canvas.width(), canvas.height()), (cols * w, rows * h));
        for (at, pixel) in canvas.rgb8().chunks(3).enumerate() {
            let (x, y) = (at % canvas.width(), at / canvas.width());
            let wanted = match pictures.get(y / h * cols + x / w) {
                Some(picture) => picture.to_rgb8()[3 * (y % h * w + x % w)..][..3].to_vec(),
                None => vec![0; 3],
            };
            assert_eq!(pixel, wanted, "{x}, {y}");
        }
    }
}

#[test]
fn pictures_of_different_sizes_are_centred_in_their_cells() {
    let pictures = [picture(60, 40, 0), picture(30, 50, 0), picture(9, 9, 0)];
    let canvas = grid(&pictures, None, None);
    assert_eq!((canvas.width(), canvas.height()), (120, 100));
    assert_looks_like("grid", &canvas);
}
