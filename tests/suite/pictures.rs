//! Picture files → pixels.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageEncoder, ImageFormat, Rgb, Rgba};

use vae::picture::{Background, Picture, PictureError, Profile};

fn bytes(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).expect("writes");
    file.into_inner()
}

fn read(bytes: &[u8]) -> Picture {
    Picture::from_bytes(bytes, Background::WHITE).expect("a picture")
}

/// 3 × 2 pixels, each of a different colour.
fn small() -> DynamicImage {
    image::RgbImage::from_fn(3, 2, |x, y| Rgb([100 * x as u8, 200 * y as u8, 7])).into()
}

#[test]
fn every_format_is_read() {
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff, ImageFormat::Bmp, ImageFormat::Qoi]
    {
        assert_eq!(read(&bytes(&small(), format)).to_rgb8(), small().to_rgb8().into_raw(), "{format:?}");
    }
    for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
        let picture = read(&bytes(&small(), format));
        assert_eq!((picture.width(), picture.height()), (3, 2), "{format:?}");
    }
}

#[test]
fn grey_becomes_rgb() {
    let grey =
        DynamicImage::from(image::GrayImage::from_fn(3, 2, |x, y| image::Luma([(40 * x + 90 * y) as u8])));
    let picture = read(&bytes(&grey, ImageFormat::Png));
    assert_eq!(picture.to_rgb8(), grey.to_rgb8().into_raw());
}

#[test]
fn transparent_pixels_are_composited_onto_the_background() {
    let image = image::RgbaImage::from_fn(3, 1, |x, _| Rgba([200, 100, 0, [0, 128, 255][x as usize]]));
    let png = bytes(&image.into(), ImageFormat::Png);
    assert_eq!(read(&png).to_rgb8(), [255, 255, 255, 227, 177, 127, 200, 100, 0]);
    let black = Picture::from_bytes(&png, Background([0; 3])).expect("a picture");
    assert_eq!(black.to_rgb8(), [0, 0, 0, 100, 50, 0, 200, 100, 0]);
}

#[test]
fn a_16_bit_picture_keeps_its_fractions() {
    let image = image::ImageBuffer::from_fn(2, 1, |x, _| Rgb([1000 + 64 * x as u16, 65535, 0]));
    let picture = read(&bytes(&DynamicImage::ImageRgb16(image), ImageFormat::Png));
    let wanted = [1000.0 / 257.0, 255.0, 0.0, 1064.0 / 257.0, 255.0, 0.0];
    for (got, wanted) in picture.values().iter().zip(wanted) {
        assert!((got - wanted).abs() < 1e-4, "{got} is not {wanted}");
    }
}

#[test]
fn exif_orientation_is_applied() {
    // Four flat quarters, at JPEG quality 100: red, green, blue and white.
    let corners = image::RgbImage::from_fn(32, 16, |x, y| match (x < 16, y < 8) {
        (true, true) => Rgb([255, 0, 0]),
        (false, true) => Rgb([0, 255, 0]),
        (true, false) => Rgb([0, 0, 255]),
        (false, false) => Rgb([255, 255, 255]),
    });
    for (orientation, size, top_left) in [
        (1, (32, 16), [255, 0, 0]),
        (3, (32, 16), [255, 255, 255]),
        (6, (16, 32), [0, 0, 255]),
        (8, (16, 32), [0, 255, 0]),
    ] {
        let mut file = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 100);
        encoder.set_exif_metadata(exif(orientation)).expect("JPEG can hold EXIF data");
        encoder.write_image(&corners, 32, 16, image::ExtendedColorType::Rgb8).expect("writes");
        let picture = read(&file);
        assert_eq!((picture.width(), picture.height()), size, "orientation {orientation}");
        let got = &picture.to_rgb8()[..3];
        assert!(
            got.iter().zip(top_left).all(|(&g, w)| g.abs_diff(w) < 8),
            "orientation {orientation}: {got:?}"
        );
    }
}

/// EXIF data with nothing but the orientation: a TIFF header, one entry, no next directory.
fn exif(orientation: u8) -> Vec<u8> {
    [b"II*\0\x08\0\0\0", &b"\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0], &[0; 4]].concat()
}

/// Calls `check` with the name of each file in `tests/pictures/nasty` that has a file `NAME` + `ending`, and with the
/// content of both. `tests/pictures/nasty.py` writes them.
fn for_each_nasty_picture(ending: &str, check: impl Fn(&str, &[u8], &[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/nasty");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is part of the repository") {
        let file = entry.expect("a file").file_name().into_string().expect("a name in ASCII");
        if let Some(name) = file.strip_suffix(ending) {
            let content = |name: &str| std::fs::read(folder.join(name)).expect("a file");
            check(name, &content(name), &content(&file));
            count += 1;
        }
    }
    assert!(count > 5, "only {count} files end in {ending}");
}

/// Fails unless both pictures have the same size and differ by at most `levels`.
fn assert_close(name: &str, got: &Picture, wanted: &Picture, levels: u8) {
    assert_eq!((got.width(), got.height()), (wanted.width(), wanted.height()), "{name}");
    let (got, wanted) = (got.to_rgb8(), wanted.to_rgb8());
    let most = got.iter().zip(&wanted).map(|(g, w)| g.abs_diff(*w)).max();
    assert!(most <= Some(levels), "{name} differs by {most:?} levels");
}

#[test]
fn unusual_files_are_read_as_by_pillow() {
    for_each_nasty_picture(".expected.png", |name, file, expected| {
        let levels = if name == "grey-alpha-16.png" { 1 } else { 0 }; // Pillow drops the low bytes
        assert_close(name, &read(file), &read(expected), levels);
        let size = Picture::size_of(file).expect("a header");
        assert_eq!(size, (read(expected).width(), read(expected).height()), "{name}");
    });
}

#[test]
fn colours_are_converted_to_srgb_as_by_little_cms() {
    for_each_nasty_picture(".srgb.png", |name, file, expected| {
        let got = Picture::from_bytes_in_srgb(file, Background::WHITE).expect("a profile");
        assert_close(name, &got, &read(expected), 1);
        let profile = Profile::of(file).expect("a header").expect("a profile");
        assert_eq!(profile.is_srgb(), name == "srgb-profile.png", "{name}: {}", profile.description());
    });
}

#[test]
fn a_damaged_profile_is_an_error_only_if_it_is_used() {
    let file = include_bytes!("../pictures/nasty/p3.tif");
    let at = file.windows(4).position(|text| text == b"acsp").expect("an ICC profile") - 36;
    let mut errors = 0;
    for i in 0..400 {
        let mut file = file.to_vec();
        file[at + i..][..4].copy_from_slice(&[0xff; 4]);
        assert_eq!(read(&file), read(include_bytes!("../pictures/nasty/p3.tif")));
        match Picture::from_bytes_in_srgb(&file, Background::WHITE) {
            Ok(_) => {}
            Err(PictureError::Profile(_)) => errors += 1,
            Err(other) => panic!("byte {i}: {other}"),
        }
    }
    assert!(errors > 50, "{errors} errors");
}

#[test]
fn a_gif_is_read_as_its_first_frame() {
    let frame =
        |level: u8| image::Frame::new(image::RgbaImage::from_pixel(4, 3, Rgba([level, level, level, 255])));
    let mut file = Vec::new();
    image::codecs::gif::GifEncoder::new(&mut file).encode_frames([frame(255), frame(0)]).expect("writes");
    assert_eq!(read(&file).to_rgb8(), [255; 4 * 3 * 3]);
}

#[test]
fn preprocessing_rounds_both_sides_down_to_a_multiple() {
    let picture = Picture::from_rgb8(100, 75, &[128; 100 * 75 * 3]);
    let size = |multiple| {
        let picture = picture.preprocess(multiple).expect("large enough");
        (picture.width(), picture.height())
    };
    assert_eq!([size(32), size(8), size(1)], [(96, 64), (96, 72), (100, 75)]);
    assert!(picture.preprocess(80).is_err());
}

#[test]
fn a_picture_survives_the_conversion_to_a_tensor_and_back() {
    let picture = read(&bytes(&small(), ImageFormat::Png));
    let tensor = picture.to_tensor(&candle_core::Device::Cpu).expect("a tensor");
    assert_eq!(tensor.dims(), [1, 3, 2, 3]);
    let values = tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32");
    assert_eq!(values[0], -1.0, "red of the first pixel");
    assert_eq!(values[6 + 3], 2.0 * (200.0 / 255.0) - 1.0, "green of the second row");
    assert_eq!(Picture::from_tensor(&tensor).expect("a picture"), picture);
}
