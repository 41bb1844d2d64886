//! Resizing against Pillow's LANCZOS. `tests/pictures/resize.py` writes the expected values.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Rgb};
use sha2::{Digest, Sha256};

use vae::picture::{Background, Picture};

use crate::support::golden::Golden;

/// Returns the bytes of a picture of noise and extremes; the same as in `resize.py`.
fn source(width: usize, height: usize) -> Vec<u8> {
    let value = |i: u64| {
        let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i >> 3);
        let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        match x >> 8 & 7 {
            0..3 => x as u8,
            3..5 => 0,
            _ => 255,
        }
    };
    (0..(width * height * 3) as u64).map(value).collect()
}

#[test]
fn pictures_of_any_size_get_the_same_bytes_as_in_pillow() {
    let size = |text: &str| {
        let (width, height) = text.split_once('x').expect("width x height");
        (width.parse::<usize>().expect("a width"), height.parse::<usize>().expect("a height"))
    };
    let expected = include_str!("../pictures/resize.txt");
    for line in expected.lines().filter(|line| !line.starts_with('#')) {
        let [from, to, digest] = line.split(' ').collect::<Vec<_>>().try_into().expect("three columns");
        let ((width, height), to) = (size(from), size(to));
        let resized = Picture::from_rgb8(width, height, &source(width, height)).resize(to.0, to.1);
        let got: String =
            Sha256::digest(resized.to_rgb8()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(got, digest, "{line}");
    }
}

#[test]
fn a_photo_gets_the_same_bytes_as_in_pillow() {
    let golden = Golden::open("resize.safetensors");
    let (height, width, _) = golden.tensor("source").dims3().expect("[h, w, 3]");
    let source = Picture::from_rgb8(width, height, &golden.bytes("source"));
    for (width, height) in [(320, 224), (256, 248), (96, 64)] {
        let got = source.resize(width, height).to_rgb8();
        let wanted = golden.bytes(&format!("resized_{width}x{height}"));
        let differing = got.iter().zip(&wanted).filter(|(got, wanted)| got != wanted).count();
        assert_eq!(differing, 0, "{width}×{height}: of {} values", wanted.len());
    }
}

#[test]
fn a_16_bit_picture_is_resized_as_pillow_resizes_floats() {
    let values =
        source(33, 47).iter().map(|&v| u16::from(v).saturating_mul(256).saturating_add(77)).collect();
    let image = ImageBuffer::<Rgb<u16>, Vec<u16>>::from_raw(33, 47, values).expect("three values per pixel");
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut file, ImageFormat::Png).expect("writes");
    let picture = Picture::from_bytes(&file.into_inner(), Background::WHITE).expect("a picture");
    let resized = picture.resize(16, 20);
    let (wanted, _) = include_bytes!("../pictures/resize-33x47.f32").as_chunks::<4>();
    assert_eq!(resized.values().len(), wanted.len());
    for (got, wanted) in resized.values().iter().zip(wanted.iter().map(|bytes| f32::from_le_bytes(*bytes))) {
        assert!((got - wanted).abs() < 1e-4, "{got} is not {wanted}");
    }
}
