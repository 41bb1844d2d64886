//! Pictures of how figures look, in `tests/figures`. `VAE_BLESS=1 cargo test --test suite figures` makes them again:
//! look at them before they are committed.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use vae::figure::Canvas;

/// Shrunk pictures differ by so many levels between processors.
const TOLERANCE: u8 = 2;

/// Fails the test where the figure does not look as it did; the figure and the difference are then left in `target/tmp`.
#[track_caller]
pub fn assert_looks_like(name: &str, canvas: &Canvas) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures").join(format!("{name}.png"));
    let (width, height) = (canvas.width() as u32, canvas.height() as u32);
    let got = RgbImage::from_raw(width, height, canvas.rgb8().to_vec()).expect("three bytes a pixel");
    if std::env::var_os("VAE_BLESS").is_some() {
        return write(&path, &got);
    }
    let wanted = image::open(&path).expect("a picture; VAE_BLESS=1 makes it").to_rgb8();
    if let Some((words, difference)) = differ(&wanted, &got) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (left, shown) =
            (folder.join(format!("{name}.png")), folder.join(format!("{name}-difference.png")));
        write(&left, &got);
        write(&shown, &difference);
        panic!("{name} looks different: {words}\n  got {}\n  difference {}", left.display(), shown.display());
    }
}

fn write(path: &Path, picture: &RgbImage) {
    let file = std::fs::File::create(path).expect("a file");
    PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .expect("a PNG");
}

/// Where two pictures differ, in words, and as a picture: red on a pale copy of the wanted one.
fn differ(wanted: &RgbImage, got: &RgbImage) -> Option<(String, RgbImage)> {
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
fn one_pixel_is_a_difference_and_rounding_is_none() {
    let wanted = RgbImage::from_fn(4, 3, |x, y| image::Rgb([x as u8 * 10, y as u8 * 10, 100]));
    let mut got = wanted.clone();
    got.get_pixel_mut(2, 1).0[2] += TOLERANCE;
    assert!(differ(&wanted, &got).is_none());
    got.get_pixel_mut(2, 1).0[2] += 1;
    let (words, difference) = differ(&wanted, &got).expect("a difference");
    assert_eq!((words.as_str(), difference.get_pixel(2, 1).0), ("1 pixels", [255, 0, 0]));
    assert!(differ(&wanted, &RgbImage::new(3, 4)).is_some());
}
