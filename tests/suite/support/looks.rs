//! Compares figures with the reference pictures in `tests/figures`. `VAE_BLESS=1 cargo test --test suite figures`
//! writes these again: inspect them before you commit them.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use vae::figure::Canvas;

/// Shrunk pictures may differ by this many levels between processors.
const TOLERANCE: u8 = 2;

/// Fails the test if a figure differs from its reference, and writes the figure and the difference to `target/tmp`.
#[track_caller]
pub fn assert_looks_like(name: &str, canvas: &Canvas) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures").join(format!("{name}.png"));
    let (width, height) = (canvas.width() as u32, canvas.height() as u32);
    let got = RgbImage::from_raw(width, height, canvas.rgb8().to_vec()).expect("three bytes per pixel");
    if std::env::var_os("VAE_BLESS").is_some() {
        return write(&path, &got);
    }
    let wanted = image::open(&path).expect("a reference picture; VAE_BLESS=1 writes it").to_rgb8();
    if let Some((message, difference)) = compare(&wanted, &got) {
        let path = |suffix: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}{suffix}.png"));
        write(&path(""), &got);
        write(&path("-difference"), &difference);
        panic!("{name} looks different: {message}; see {} and …-difference.png", path("").display());
    }
}

fn write(path: &Path, picture: &RgbImage) {
    let file = std::fs::File::create(path).expect("a file");
    PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .expect("a PNG");
}

/// Returns where two pictures differ, as a message and as a picture: red on a pale copy of the wanted one.
fn compare(wanted: &RgbImage, got: &RgbImage) -> Option<(String, RgbImage)> {
    if wanted.dimensions() != got.dimensions() {
        return Some((format!("{:?} became {:?}", wanted.dimensions(), got.dimensions()), wanted.clone()));
    }
    let mut difference = wanted.clone();
    let mut count = 0;
    for (pixel, got) in difference.pixels_mut().zip(got.pixels()) {
        let far = pixel.0.iter().zip(got.0).any(|(&a, b)| a.abs_diff(b) > TOLERANCE);
        count += usize::from(far);
        pixel.0 = if far { [255, 0, 0] } else { pixel.0.map(|v| 191 + v / 4) };
    }
    (count > 0).then(|| (format!("{count} pixels"), difference))
}

#[test]
fn a_single_pixel_is_a_difference_but_rounding_is_not() {
    let wanted = RgbImage::from_fn(4, 3, |x, y| image::Rgb([x as u8 * 10, y as u8 * 10, 100]));
    let mut got = wanted.clone();
    got.get_pixel_mut(2, 1).0[2] += TOLERANCE;
    assert!(compare(&wanted, &got).is_none());
    got.get_pixel_mut(2, 1).0[2] += 1;
    let (message, difference) = compare(&wanted, &got).expect("a difference");
    assert_eq!((message.as_str(), difference.get_pixel(2, 1).0), ("1 pixels", [255, 0, 0]));
    assert!(compare(&wanted, &RgbImage::new(3, 4)).is_some());
}
