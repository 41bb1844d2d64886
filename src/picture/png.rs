//! The chunks of a PNG file that the decoder does not report: EXIF data after the pixels, and colours other than ICC.

use image::metadata::Orientation;

/// Returns the types and the data of the chunks of a PNG file, up to the first that is not complete.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default(); // after the signature
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk()?;
        let (data, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after.get(4..)?; // after the checksum
        Some((*kind, data))
    })
}

/// Returns how the picture is turned upright. EXIF data may come before or after the pixels; the last counts, as in Pillow.
pub fn orientation(bytes: &[u8]) -> Orientation {
    let exif = chunks(bytes).filter(|(kind, _)| kind == b"eXIf").last();
    exif.and_then(|(_, data)| Orientation::from_exif_chunk(data)).unwrap_or(Orientation::NoTransforms)
}

/// What a PNG file states about its colours.
#[derive(Debug, PartialEq)]
pub enum Colors {
    /// Code points of ITU-T H.273: primaries, transfer function, matrix, and whether the range is full.
    Cicp([u8; 4]),
    /// An ICC profile, which the decoder returns.
    Icc,
    /// sRGB, or nothing.
    Srgb,
    /// The encoding gamma (chunk `gAMA`), and x and y of the white point, red, green and blue (chunk `cHRM`).
    Gamma(Option<f64>, Option<[f64; 8]>),
}

/// Returns the statement that counts: the first in the order of [`Colors`] (PNG, third edition, section 4.3).
pub fn colors(bytes: &[u8]) -> Colors {
    let (mut icc, mut srgb, mut gamma, mut primaries) = (false, false, None, None);
    for (kind, data) in chunks(bytes).take_while(|(kind, _)| kind != b"IDAT") {
        match &kind {
            b"cICP" if data.len() == 4 => return Colors::Cicp([data[0], data[1], data[2], data[3]]),
            b"iCCP" => icc = true,
            b"sRGB" => srgb = true,
            b"gAMA" => gamma = fractions(data).map(|[gamma]| gamma).filter(|&gamma| gamma > 0.0),
            b"cHRM" => primaries = fractions(data),
            _ => {}
        }
    }
    match (icc, srgb, gamma, primaries) {
        (true, ..) => Colors::Icc,
        (_, true, ..) | (_, _, None, None) => Colors::Srgb,
        _ => Colors::Gamma(gamma, primaries),
    }
}

/// Reads numbers that are stored as multiples of 1/100,000.
fn fractions<const N: usize>(data: &[u8]) -> Option<[f64; N]> {
    let (numbers, []) = data.as_chunks() else { return None };
    let numbers: Vec<f64> = numbers.iter().map(|n| f64::from(u32::from_be_bytes(*n)) / 1e5).collect();
    numbers.try_into().ok()
}

/// Returns how much memory in bytes the decoder may use beside the picture: for rows, and for a compressed ICC profile,
/// which can be much larger than the file.
pub fn max_memory(bytes: &[u8]) -> u64 {
    let width = bytes.get(16..20).and_then(|width| width.try_into().ok()).map_or(0, u32::from_be_bytes);
    (64 << 20) + 16 * 8 * u64::from(width)
}
