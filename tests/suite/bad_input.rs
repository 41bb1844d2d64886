//! Broken files. Each must cause a clear message and exit code 1, without a panic and without an output.

use candle_core::{Device, Tensor};

use crate::support::model_folder::Folder;
use crate::support::process::{vae_with_model, write_png};

/// Encodes a picture file `name` with the content `bytes`. The run must fail and print each of `texts`.
#[track_caller]
fn encode_fails(name: &str, bytes: &[u8], texts: &[&str]) {
    let folder = Folder::with_model();
    std::fs::write(folder.path(name), bytes).expect("a file");
    vae_with_model(&folder, &format!("encode {name} -o out.safetensors")).code(1).says(&[name]).says(texts);
    assert!(!folder.path("out.safetensors").exists());
}

/// Decodes a latents file with the content `bytes`. The run must fail and print each of `texts`.
#[track_caller]
fn decode_fails(bytes: &[u8], texts: &[&str]) {
    let folder = Folder::with_model();
    std::fs::write(folder.path("bad.safetensors"), bytes).expect("a file");
    vae_with_model(&folder, "decode bad.safetensors -o out.png")
        .code(1)
        .says(&["bad.safetensors"])
        .says(texts);
    assert!(!folder.path("out.png").exists());
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let folder = Folder::new();
    write_png(&folder.path("p.png"), width, height);
    std::fs::read(folder.path("p.png")).expect("a file")
}

/// Returns a safetensors file with `header`, which may be invalid, and `data`.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn stored(name: &str, tensor: &Tensor) -> Vec<u8> {
    safetensors::serialize([(name, tensor)], None).expect("serializes")
}

#[test]
fn files_that_are_not_pictures() {
    encode_fails("empty.png", b"", &["the file is empty"]);
    encode_fails("text.png", b"this is a text file that is called .png", &["not a PNG"]);
    encode_fails("noise.jpg", &[0x5a; 4096], &["not a PNG"]);
    encode_fails("zeros.webp", &[0; 4096], &["not a PNG"]);
}

#[test]
fn pictures_of_unsupported_formats() {
    for (start, name) in [
        (b"\0\0\0\x1cftypavif".as_slice(), "AVIF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"#?RADIANCE\n", "Radiance HDR"),
        (b"\0\0\x01\0\x01\0", "ICO"),
        (b"P6\n1 1\n255\n", "PNM"),
        (b"DDS |", "DDS"),
        (b"<?xml version=\"1.0\"?><svg/>", "SVG"),
    ] {
        let texts = [&format!("{name} pictures are not supported"), "convert"];
        encode_fails("picture.png", &[start, &[0; 64]].concat(), &texts);
    }
}

#[test]
fn tiff_pictures_whose_values_have_no_known_meaning() {
    // The first two pixels; all others are black.
    let file = |values: [f32; 6]| {
        let mut all = vec![0.0; 3 * 32 * 32];
        all[..6].copy_from_slice(&values);
        let image = image::Rgb32FImage::from_raw(32, 32, all).expect("32×32 pixels");
        let mut file = std::io::Cursor::new(Vec::new());
        image::DynamicImage::from(image).write_to(&mut file, image::ImageFormat::Tiff).expect("writes");
        file.into_inner()
    };
    encode_fails("nan.tif", &file([0.0, 0.5, f32::NAN, 1.0, 1.0, 1.0]), &["1 of 3072 floating-point values"]);
    encode_fails("wide.tif", &file([0.0, 127.5, 255.0, 1.0, 1.0, 1.0]), &["2 of 3072 floating-point values"]);
    let folder = Folder::with_model();
    std::fs::write(folder.path("unit.tif"), file([0.0, 0.5, 0.25, 1.0, 1.0, 1.0])).expect("a file");
    vae_with_model(&folder, "encode unit.tif").code(0);
}

#[test]
fn truncated_pictures() {
    let whole = png(200, 100);
    for length in [8, 20, 33, whole.len() / 2, whole.len() - 20] {
        encode_fails("cut.png", &whole[..length], &["picture"]);
    }
    for (format, name) in [
        (image::ImageFormat::Jpeg, "cut.jpg"),
        (image::ImageFormat::WebP, "cut.webp"),
        (image::ImageFormat::Tiff, "cut.tiff"),
        (image::ImageFormat::Bmp, "cut.bmp"),
        (image::ImageFormat::Gif, "cut.gif"),
        (image::ImageFormat::Qoi, "cut.qoi"),
    ] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::load_from_memory(&whole).expect("a picture");
        picture.write_to(&mut bytes, format).expect("writes");
        let bytes = bytes.into_inner();
        encode_fails(name, &bytes[..bytes.len() / 3], &["picture"]);
    }
}

#[test]
fn a_jpeg_may_have_trailing_data_but_not_be_truncated() {
    let folder = Folder::with_model();
    write_png(&folder.path("p.png"), 64, 32);
    image::open(folder.path("p.png")).expect("a picture").save(folder.path("p.jpg")).expect("a JPEG");
    let whole = std::fs::read(folder.path("p.jpg")).expect("a file");
    std::fs::write(folder.path("p.jpg"), [&whole[..], b"\xff\xda more of another kind"].concat())
        .expect("a file");
    vae_with_model(&folder, "encode p.jpg -o l.safetensors").code(0);
    for length in [whole.len() - 2, whole.len() - 40] {
        encode_fails("cut.jpg", &whole[..length], &["incomplete"]);
    }
}

#[test]
fn latents_of_an_enormous_picture() {
    let tensor = Tensor::zeros((1, 4, 4096, 2600), candle_core::DType::F16, &Device::Cpu).expect("zeros");
    decode_fails(&stored("latents", &tensor), &["pixels"]);
}

#[test]
fn a_picture_with_a_flipped_byte() {
    let mut bytes = png(200, 100);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    encode_fails("flipped.png", &bytes, &["picture"]);
}

#[test]
fn a_picture_that_is_too_small() {
    encode_fails("dot.png", &png(1, 1), &["1×1", "at least 32\n"]);
    encode_fails("flat.png", &png(500, 31), &["500×31", "--multiple 8"]);
}

#[test]
fn headers_of_enormous_pictures() {
    let mut bytes = png(100, 50);
    bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]); // 60000 × 60000
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    encode_fails("huge.png", &bytes, &["60000×60000", "megapixels"]);

    let mut bmp = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(4, 4).write_to(&mut bmp, image::ImageFormat::Bmp).expect("writes");
    let mut bmp = bmp.into_inner();
    bmp[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
    encode_fails("huge.bmp", &bmp, &["huge.bmp"]);

    let qoi =
        [b"qoif".as_slice(), &60000u32.to_be_bytes(), &60000u32.to_be_bytes(), &[3, 0], &[0; 64]].concat();
    encode_fails("huge.qoi", &qoi, &["60000"]);
}

/// Computes the checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    })
}

#[test]
fn inputs_that_are_not_files() {
    let folder = Folder::with_model();
    std::fs::create_dir(folder.path("d.png")).expect("a folder");
    vae_with_model(&folder, "encode d.png -o o.safetensors").code(1).says(&["d.png", "folder"]);
    vae_with_model(&folder, "decode d.png -o o.png").code(1).says(&["d.png", "folder"]);
    vae_with_model(&folder, "encode missing.png -o o.safetensors")
        .code(1)
        .says(&["missing.png", "No such file"]);
}

#[cfg(unix)]
#[test]
fn a_file_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::with_model();
    write_png(&folder.path("p.png"), 64, 32);
    let locked = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(folder.path("p.png"), locked).expect("permissions");
    if std::fs::read(folder.path("p.png")).is_ok() {
        println!("skipped: this user can read every file");
        return;
    }
    vae_with_model(&folder, "encode p.png -o o.safetensors").code(1).says(&["p.png", "ermission"]);
}

#[test]
fn latents_that_are_not_safetensors() {
    decode_fails(b"", &["the file is empty"]);
    decode_fails(b"\x08\0\0", &["safetensors"]);
    decode_fails(&png(64, 32), &["PNG picture", "vae encode"]);
    decode_fails(&safetensors("{", b""), &["safetensors"]);
    decode_fails(&u64::MAX.to_le_bytes(), &["safetensors"]);
    decode_fails(&[&(1u64 << 40).to_le_bytes()[..], b"{}"].concat(), &["safetensors"]);
}

#[test]
fn latents_with_an_invalid_header() {
    let header = |shape: &str, start: u64, end: u64| {
        let latents = format!(r#""dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]"#);
        format!("{{\"latents\":{{{latents}}}}}")
    };
    let data = [0; 64];
    for header in [
        header("[1,4,2,2]", 0, 4096),                          // beyond the file
        header("[1,4,2,2]", 32, 96),                           // does not start at 0
        header("[1,4,2,2]", 64, 0),                            // backwards
        header("[1,4,200,200]", 0, 64),                        // more values than bytes
        header("[4294967296,4294967296,4294967296,4]", 0, 64), // the product overflows
        header("[1,4,2,-2]", 0, 64),                           // negative
        header("[1,4,2,2]", 0, 64).replace("F32", "F33"),      // unknown type
    ] {
        decode_fails(&safetensors(&header, &data), &["safetensors"]);
    }
}

#[test]
fn safetensors_without_latents() {
    decode_fails(&safetensors("{}", b""), &["no latents found"]);
    let tensor =
        |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).expect("zeros");
    decode_fails(&stored("latents", &tensor(&[4, 6])), &["no latents found"]);
    decode_fails(&stored("latents", &tensor(&[1, 4, 0, 6])), &["no latents found"]);
    decode_fails(&stored("latents", &tensor(&[1, 16, 2, 2])), &["16 channels", "4"]);
    let numbers = Tensor::zeros((1, 4, 2, 2), candle_core::DType::I64, &Device::Cpu).expect("zeros");
    decode_fails(&stored("latents", &numbers), &["I64"]);
    let two = [("a", tensor(&[1, 4, 2, 2])), ("b", tensor(&[1, 4, 2, 2]))];
    decode_fails(&safetensors::serialize(two, None).expect("serializes"), &["none", "`latents`"]);
}

#[test]
fn latents_with_nan_or_infinity() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut values = vec![0.5f32; 4 * 6];
        values[7] = value;
        let tensor = Tensor::from_vec(values, (1, 4, 2, 3), &Device::Cpu).expect("a tensor");
        decode_fails(&stored("latents", &tensor), &["1 of 24 latent values"]);
    }
}

#[test]
fn latents_of_a_later_format_version() {
    let tensor = Tensor::zeros((1, 4, 2, 2), candle_core::DType::F32, &Device::Cpu).expect("zeros");
    let metadata = [("format_version", "7"), ("software", "vae 9.0.0")];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
    let bytes = safetensors::serialize([("latents", &tensor)], Some(metadata)).expect("serializes");
    decode_fails(&bytes, &["version 7", "update"]);
}

#[test]
fn latents_without_an_original_size() {
    let folder = Folder::with_model();
    let tensor = Tensor::zeros((1, 4, 2, 2), candle_core::DType::F32, &Device::Cpu).expect("zeros");
    std::fs::write(folder.path("l.safetensors"), stored("latents", &tensor)).expect("a file");
    let run = vae_with_model(&folder, "decode l.safetensors -o o.png --original-size");
    run.code(1).says(&["original_size"]);
}
