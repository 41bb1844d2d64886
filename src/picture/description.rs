//! The description in a picture file that vae wrote: EXIF data with two texts, `Software` (`vae` and its version) and
//! `ImageDescription`. It is possible in PNG, JPEG and WebP.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use exif::experimental::Writer;
use exif::{Field, In, Reader, Tag, Value};
use image::ImageFormat;

/// The name and the version of this program, as files state them.
pub(crate) const SOFTWARE: &str = concat!("vae ", env!("CARGO_PKG_VERSION"));

/// Whether `software`, read from a file, is this program in any version.
pub(crate) fn is_vae(software: &str) -> bool {
    software.starts_with("vae ")
}

/// What a picture file that vae wrote states about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The text of `ImageDescription`.
    pub description: String,
    /// Whether the file has its end. It is `false` if the file was cut off.
    pub is_complete: bool,
}

impl Described {
    /// Reads the description of the file at `path`, and decodes no pixels. Returns `None` if the file is not a picture,
    /// has no description, or is from another program.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let mut start = Vec::new();
        file.by_ref().take(16).read_to_end(&mut start)?;
        let end: &[u8] = match image::guess_format(&start) {
            Ok(ImageFormat::Png) => b"\0\0\0\0IEND\xae\x42\x60\x82",
            Ok(ImageFormat::Jpeg) => b"\xff\xd9",
            Ok(ImageFormat::WebP) => b"", // the header has the length
            _ => return Ok(None),
        };
        let len = file.metadata()?.len();
        let is_complete = match end {
            b"" => len == u64::from(u32::from_le_bytes([start[4], start[5], start[6], start[7]])) + 8,
            end => ends_with(&mut file, len, end)?,
        };
        file.rewind()?;
        Ok(parse(&mut BufReader::new(file)).map(|description| Self { description, is_complete }))
    }
}

/// Whether the last bytes of a file with `len` bytes are `end`.
fn ends_with(file: &mut File, len: u64, end: &[u8]) -> io::Result<bool> {
    let Some(at) = len.checked_sub(end.len() as u64) else { return Ok(false) };
    file.seek(SeekFrom::Start(at))?;
    let mut last = Vec::new();
    file.take(end.len() as u64).read_to_end(&mut last)?;
    Ok(last == end)
}

/// Returns the description in a picture file of vae.
fn parse(file: &mut BufReader<File>) -> Option<String> {
    let exif = Reader::new().read_from_container(file).ok()?;
    let text = |tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(texts) => String::from_utf8(texts.first()?.clone()).ok(),
        _ => None,
    };
    text(Tag::Software).filter(|software| is_vae(software)).and_then(|_| text(Tag::ImageDescription))
}

/// Returns EXIF data with `description`.
pub(super) fn to_exif(description: &str) -> Vec<u8> {
    let field = |tag, text: &str| Field {
        tag,
        ifd_num: In::PRIMARY,
        value: Value::Ascii(vec![text.as_bytes().to_vec()]),
    };
    let fields = [field(Tag::ImageDescription, description), field(Tag::Software, SOFTWARE)];
    let mut writer = Writer::new();
    fields.iter().for_each(|field| writer.push_field(field));
    let mut data = Cursor::new(Vec::new());
    writer.write(&mut data, false).expect("texts can be written into memory");
    data.into_inner()
}

#[cfg(test)]
mod tests {
    use crate::picture::{Format, Picture};

    use super::*;

    const FORMATS: [Format; 3] = [Format::Png, Format::Jpeg { quality: 90 }, Format::WebP];

    fn read(bytes: &[u8]) -> Option<Described> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("p"), bytes).expect("a file");
        Described::read(&folder.path().join("p")).expect("readable")
    }

    #[test]
    fn a_description_is_read_from_every_format() {
        let picture = Picture::from_rgb8(40, 30, &[9; 40 * 30 * 3]);
        for format in FORMATS {
            for text in [r#"{"seed":"7"}"#, "", &"long ".repeat(2000)] {
                let file = picture.to_file_bytes_with(format, text).expect("writes");
                assert_eq!(read(&file), Some(Described { description: text.into(), is_complete: true }));
                let same = Picture::from_bytes(&file, crate::picture::Background::WHITE).expect("a picture");
                assert_eq!((same.width(), same.height()), (40, 30));
            }
            assert_eq!(read(&picture.to_file_bytes(format).expect("writes")), None, "{format:?}");
        }
    }

    #[test]
    fn a_file_that_was_cut_off_is_incomplete_or_unknown() {
        let picture = Picture::from_rgb8(40, 30, &[9; 40 * 30 * 3]);
        for format in FORMATS {
            let file = picture.to_file_bytes_with(format, "text").expect("writes");
            for len in 0..file.len() {
                assert!(read(&file[..len]).is_none_or(|d| !d.is_complete), "{format:?}, {len} bytes");
            }
        }
        for format in [Format::Png, Format::Jpeg { quality: 90 }] {
            let file = picture.to_file_bytes_with(format, "text").expect("writes");
            assert!(read(&file[..file.len() - 1]).is_some(), "{format:?}");
        }
    }

    #[test]
    fn other_files_have_no_description() {
        let field =
            |tag, text: &[u8]| Field { tag, ifd_num: In::PRIMARY, value: Value::Ascii(vec![text.to_vec()]) };
        let fields = [field(Tag::ImageDescription, b"{}"), field(Tag::Software, b"GIMP 3.0")];
        let mut writer = Writer::new();
        fields.iter().for_each(|field| writer.push_field(field));
        let mut data = Cursor::new(Vec::new());
        writer.write(&mut data, false).expect("writes");
        let mut png = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
        image::ImageEncoder::set_exif_metadata(&mut encoder, data.into_inner()).expect("EXIF");
        image::ImageEncoder::write_image(encoder, &[0; 12], 2, 2, image::ExtendedColorType::Rgb8)
            .expect("a PNG");
        for other in [&png, &b""[..], b"text", b"RIFF", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"] {
            assert_eq!(read(other), None);
        }
    }
}
