//! Recognizes files that cannot be read, so that the error can name their format.

/// The bytes at the start of files.
const STARTS: &[(&[u8], &str)] = &[
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"\0\0\x01\0", "ICO"),
    (b"icns", "ICNS"),
    (b"DDS ", "DDS"),
    (b"farbfeld", "farbfeld"),
    (b"gimp xcf", "GIMP"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"IIU\0", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
];

/// The brands of ISO media files (`ftyp`).
const BRANDS: &[(&[u8], &str)] = &[
    (b"avif", "AVIF"),
    (b"avis", "AVIF"),
    (b"heic", "HEIC"),
    (b"heix", "HEIC"),
    (b"hevc", "HEIC"),
    (b"heim", "HEIC"),
    (b"mif1", "HEIF"),
    (b"msf1", "HEIF"),
    (b"crx ", "camera raw"),
];

/// Returns the name of the format of a file, if it is a kind of picture that is known but cannot be read.
pub fn format(bytes: &[u8]) -> Option<&'static str> {
    let find = |table: &[(&[u8], &'static str)], bytes: &[u8]| {
        table.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| *name)
    };
    let is_pnm = matches!(bytes, [b'P', b'1'..=b'7' | b'f' | b'F', b' ' | b'\t' | b'\r' | b'\n', ..]);
    let start = &bytes[..bytes.len().min(1024)];
    let is_svg = || {
        start.trim_ascii_start().starts_with(b"<")
            && start.windows(4).any(|text| text.eq_ignore_ascii_case(b"<svg"))
    };
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => find(BRANDS, brand),
        _ if is_pnm => Some("PNM"),
        _ if is_svg() => Some("SVG"),
        _ => find(STARTS, bytes),
    }
}
