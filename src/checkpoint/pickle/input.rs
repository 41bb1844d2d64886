//! The bytes of pickles: operations and their arguments.

use std::io::{self, BufRead, Read, Take};

use crate::checkpoint::table::TableError;

use super::objects::Object;

/// The longest pickle, in bytes. That of a whole checkpoint has less than one megabyte.
pub const MAX_BYTES: u64 = 32 << 20;
/// The longest text in bytes. Longer ones are not kept.
const MAX_TEXT: u64 = 4096;
/// The number with which the older of PyTorch's formats begins, 0x1950a86a20f9469cfc6c.
pub const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

type Result<T> = std::result::Result<T, TableError>;

/// Reads at most [`MAX_BYTES`] of a file.
pub struct Input<R>(Take<R>);

impl<R: BufRead> Input<R> {
    pub fn new(file: R) -> Self {
        Self(file.take(MAX_BYTES))
    }

    /// The file, from where reading has ended.
    pub fn into_inner(self) -> R {
        self.0.into_inner()
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.0.read_exact(bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.cut_off()),
            result => result.map_err(TableError::Read),
        }
    }

    fn cut_off(&self) -> TableError {
        TableError::Invalid(match self.0.limit() {
            0 => format!("its pickle is longer than {} MiB", MAX_BYTES >> 20),
            _ => "its pickle is cut off; the file may be incomplete, download it again".into(),
        })
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes).map(|()| bytes)
    }

    /// A number of `N` bytes without sign.
    pub fn length<const N: usize>(&mut self) -> Result<u64> {
        let bytes: [u8; N] = self.array()?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The text up to the end of the line.
    pub fn line(&mut self) -> Result<Box<str>> {
        let mut line = Vec::new();
        (&mut self.0).take(MAX_TEXT).read_until(b'\n', &mut line).map_err(TableError::Read)?;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).into()),
            Some(_) if line.len() as u64 == MAX_TEXT - 1 => {
                invalid(format!("its pickle has a line of more than {MAX_TEXT} bytes"))
            }
            _ => Err(self.cut_off()),
        }
    }

    /// The index into the memo that a line contains.
    pub fn index(&mut self) -> Result<u64> {
        let line = self.line()?;
        line.parse().or_else(|_| invalid(format!("its pickle has `{line}` where it needs an index")))
    }

    /// A text in a line, in quotes or not. Texts with escape sequences are not kept.
    pub fn string(&mut self) -> Result<Object> {
        let line = self.line()?;
        let quoted = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
        let text = quoted('\'').or_else(|| quoted('"')).unwrap_or(&line);
        Ok(if text.contains('\\') { Object::Opaque } else { Object::Text(text.into()) })
    }

    /// The number or truth value that a line contains.
    pub fn decimal(&mut self) -> Result<Object> {
        let line = self.line()?;
        Ok(match &*line {
            "00" | "01" => Object::Bool(&*line == "01"),
            _ => line.trim_end_matches('L').parse().map_or(Object::Opaque, Object::Int),
        })
    }

    /// A float of eight bytes, which is not kept.
    pub fn float(&mut self) -> Result<Object> {
        self.array::<8>().map(|_| Object::Opaque)
    }

    /// A length of `N` bytes, and a number of this many bytes with sign. It is kept if it has no more than 64 bits.
    pub fn long<const N: usize>(&mut self) -> Result<Object> {
        let length = self.length::<N>()?;
        if length > MAGIC.len() as u64 {
            return self.skip(length);
        }
        let mut bytes = vec![0; length as usize];
        self.read(&mut bytes)?;
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        Ok(match bytes.len() {
            0..=8 => {
                bytes.resize(8, sign);
                Object::Int(bytes.iter().rev().fold(0, |number, &byte| number << 8 | i64::from(byte)))
            }
            _ if bytes == MAGIC => Object::Magic,
            _ => Object::Opaque,
        })
    }

    /// A length of `N` bytes, and a text of this many bytes.
    pub fn text<const N: usize>(&mut self) -> Result<Object> {
        let length = self.length::<N>()?;
        if length > MAX_TEXT {
            return self.skip(length);
        }
        let mut bytes = vec![0; length as usize];
        self.read(&mut bytes)?;
        Ok(Object::Text(String::from_utf8_lossy(&bytes).into()))
    }

    /// A length of `N` bytes, and this many bytes, which are not kept.
    pub fn bytes<const N: usize>(&mut self) -> Result<Object> {
        self.length::<N>().and_then(|length| self.skip(length))
    }

    fn skip(&mut self, length: u64) -> Result<Object> {
        let copied = io::copy(&mut (&mut self.0).take(length), &mut io::sink());
        match copied.map_err(TableError::Read)? {
            skipped if skipped == length => Ok(Object::Opaque),
            _ => Err(self.cut_off()),
        }
    }
}

fn invalid<T>(reason: String) -> Result<T> {
    Err(TableError::Invalid(reason))
}
