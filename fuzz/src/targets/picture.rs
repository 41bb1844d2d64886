//! Picture files.

use vae::picture::{Background, Facts, Format, Picture};

/// Larger pictures are not decoded.
pub const MOST_PIXELS: usize = 1 << 16;

/// Reads `data` as a picture, prepares it for the model, and writes it.
pub fn run(data: &[u8]) {
    let (facts, size) = (Facts::of(data), Picture::size_of(data));
    assert_eq!(facts.is_ok(), size.is_ok(), "{facts:?} {size:?}");
    let Ok((width, height)) = size else {
        assert!(Picture::from_bytes(data, Background::WHITE).is_err(), "a picture without a size");
        return;
    };
    if width.saturating_mul(height) > MOST_PIXELS {
        return;
    }
    let background = Background([data.len() as u8, 0, 255]);
    let Ok(picture) = Picture::from_bytes(data, background) else { return };
    assert_eq!((picture.width(), picture.height()), (width, height));
    check(&picture);
    for multiple in [8, 32] {
        match picture.preprocess(multiple) {
            Ok(prepared) => {
                assert!(
                    prepared.width().is_multiple_of(multiple) && prepared.height().is_multiple_of(multiple)
                );
                check(&prepared);
            }
            Err(_) => assert!(width < multiple || height < multiple),
        }
    }
    check(&picture.resize(height.min(100), width.min(100)));
    let png = picture.to_file_bytes(Format::Png).expect("a small picture");
    let again = Picture::from_bytes(&png, Background::WHITE).expect("a PNG");
    assert_eq!(again.to_rgb8(), picture.to_rgb8());
}

/// Checks the number of the values and their range.
fn check(picture: &Picture) {
    assert_eq!(picture.values().len(), picture.width() * picture.height() * 3);
    assert!(picture.values().iter().all(|v| (0.0..=255.0).contains(v)), "a value out of range, or NaN");
}
