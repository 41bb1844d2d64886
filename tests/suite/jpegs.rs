//! JPEG files against Pillow, and damaged ones.

use vae::picture::{Background, Facts, Picture, PictureError};

use crate::support::golden::Golden;
use crate::support::model_folder::Folder;
use crate::support::process::vae_with_model;

fn read(bytes: &[u8]) -> Result<Picture, PictureError> {
    Picture::from_bytes(bytes, Background::WHITE)
}

/// Returns the position of the first `marker` in a file whose segments contain no 0xff.
fn find(jpeg: &[u8], marker: u8) -> usize {
    jpeg.windows(2).position(|pair| pair == [0xff, marker]).expect("the marker is there")
}

/// Returns `jpeg` with another byte at `offset` from its start-of-frame marker.
fn with_frame(mut jpeg: Vec<u8>, offset: usize, byte: u8) -> Vec<u8> {
    let at = find(&jpeg, 0xc0);
    jpeg[at + offset] = byte;
    jpeg
}

#[test]
fn every_jpeg_gives_the_same_bytes_as_in_pillow() {
    let golden = Golden::open("jpegs.safetensors");
    let names: Vec<&str> = golden.names().filter_map(|name| name.strip_suffix(".jpg")).collect();
    assert!(names.len() > 90, "only {} files", names.len());
    for name in names {
        let picture = read(&golden.bytes(&format!("{name}.jpg"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (height, width, _) = golden.tensor(&format!("{name}.rgb")).dims3().expect("[h, w, 3]");
        assert_eq!((picture.width(), picture.height()), (width, height), "{name}");
        let wanted = golden.bytes(&format!("{name}.rgb"));
        let differing = picture.to_rgb8().iter().zip(&wanted).filter(|(g, w)| g != w).count();
        assert_eq!(differing, 0, "{name}: of {} values", wanted.len());
    }
}

#[test]
fn the_facts_of_a_jpeg_name_its_colours() {
    let golden = Golden::open("jpegs.safetensors");
    for (name, kind) in [
        ("photo_grey", "grey"),
        ("photo_420_q75", "RGB"),
        ("noise_rgb_adobe", "RGB"),
        ("photo_cmyk", "CMYK"),
        ("noise_cmyk", "CMYK"),
        ("noise_ycck", "YCCK"),
    ] {
        let facts = Facts::of(&golden.bytes(&format!("{name}.jpg"))).expect("a header");
        assert_eq!((facts.color.kind, facts.color.bits), (kind, 8), "{name}");
    }
}

#[test]
fn a_jpeg_that_ends_anywhere_is_incomplete() {
    let golden = Golden::open("jpegs.safetensors");
    for name in ["photo_420_q75", "photo_progressive_420_17x33", "photo_restarts", "photo_cmyk", "noise_grey"]
    {
        let whole = golden.bytes(&format!("{name}.jpg"));
        for length in 3..whole.len() {
            let error = read(&whole[..length]).expect_err("a part of a picture");
            assert!(matches!(error, PictureError::Incomplete), "{name}, {length} bytes: {error}");
        }
    }
}

#[test]
fn a_damaged_jpeg_gives_an_error_or_a_picture() {
    let golden = Golden::open("jpegs.safetensors");
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let names =
        ["photo_420_q75", "photo_progressive_420_17x33", "photo_restarts", "noise_ycck_420", "noise_scans"];
    let (mut errors, mut pictures) = (0, 0);
    for name in names {
        let whole = golden.bytes(&format!("{name}.jpg"));
        let size = |bytes: &[u8]| Picture::size_of(bytes).ok();
        for length in 4..whole.len() {
            let cut = [&whole[..length], b"\xff\xd9"].concat(); // libjpeg must find out itself that it is incomplete
            let mut flipped = whole.clone();
            for _ in 0..1 + random(3) {
                flipped[random(whole.len())] ^= 1 << random(8);
            }
            for bytes in [cut, flipped] {
                if size(&bytes).is_some_and(|(width, height)| width * height > 1_000_000) {
                    continue; // takes too long
                }
                match read(&bytes) {
                    Ok(picture) => {
                        assert_eq!(Some((picture.width(), picture.height())), size(&bytes));
                        pictures += 1;
                    }
                    Err(_) => errors += 1,
                }
            }
        }
    }
    assert!(errors > 1000 && pictures > 1000, "{errors} errors, {pictures} pictures");
}

#[test]
fn a_fatal_error_of_libjpeg_is_a_plain_message() {
    let golden = Golden::open("jpegs.safetensors");
    let mut jpeg = golden.bytes("noise_grey.jpg");
    let at = find(&jpeg, 0xc4);
    jpeg[at + 5] = 200; // 200 codes of one bit
    let folder = Folder::with_model();
    std::fs::write(folder.path("bad.jpg"), &jpeg).expect("a file");
    let run = vae_with_model(&folder, "encode bad.jpg -o l.safetensors").code(1);
    run.says(&["bad.jpg", "Bogus Huffman table definition"]);
    assert!(!folder.path("l.safetensors").exists());
}

#[test]
fn unsupported_kinds_of_jpeg_are_refused_by_name() {
    let golden = Golden::open("jpegs.safetensors");
    let jpeg = golden.bytes("noise_no_app.jpg");
    let refused = |jpeg: &[u8], text: &str| {
        let errors = [read(jpeg).map(drop), Facts::of(jpeg).map(drop)];
        for error in errors.map(|result| result.expect_err("refused").to_string()) {
            assert_eq!(error, format!("a JPEG {text} is not supported"));
        }
    };
    refused(&with_frame(jpeg.clone(), 4, 12), "with 12 bits per channel");
    refused(&with_frame(jpeg.clone(), 1, 0xc9), "with arithmetic coding");
    refused(&with_frame(jpeg.clone(), 1, 0xc3), "with lossless coding");
    refused(&with_frame(jpeg.clone(), 1, 0xc5), "with hierarchical coding");

    let scan = find(&jpeg, 0xda);
    let end = jpeg.len() - 2;
    let scans = [&jpeg[..scan], &jpeg[scan..end].repeat(501), &jpeg[end..]].concat();
    refused(&scans, "with more than 500 scans");

    // A second channel with the same tables, in the frame and in the scan.
    let grey = golden.bytes("noise_grey.jpg");
    let (frame, scan) = (find(&grey, 0xc0), find(&grey, 0xda));
    let two = [
        &grey[..frame],
        &[0xff, 0xc0, 0, 14, 8, 0, 11, 0, 13, 2, 1, 0x11, 0, 2, 0x11, 0],
        &grey[frame + 13..scan],
        &[0xff, 0xda, 0, 10, 2, 1, 0, 2, 0, 0, 63, 0],
        &grey[scan + 10..],
    ];
    refused(&two.concat(), "with 2 channels");
}

#[test]
fn a_jpeg_of_too_many_pixels_is_refused() {
    let mut jpeg = Golden::open("jpegs.safetensors").bytes("photo_progressive_420_17x33.jpg");
    let at = find(&jpeg, 0xc2);
    jpeg[at + 5..at + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]); // 65500 × 65500
    let error = read(&jpeg).expect_err("refused");
    assert!(matches!(error, PictureError::TooLarge { width: 65500, height: 65500 }), "{error}");
}
