//! The header of a latents file, read without its values.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};

use crate::safetensors_header::parse;

use super::safetensors::{FORMAT_VERSION, check_shape, find_latents, is_ours, read_tensor};
use super::{Latents, LatentsError, Provenance};

/// The largest header in bytes. Those of our files have about 1 KB.
const MAX_HEADER: u64 = 4 << 20;

/// The header of a latents file.
#[derive(Debug, Clone)]
pub struct Header {
    metadata: Metadata,
    /// Where the values of all tensors start.
    start: u64,
    is_complete: bool,
}

impl Header {
    /// Reads the header of the file at `path`, and nothing else of it.
    ///
    /// # Errors
    /// [`LatentsError::Read`], [`LatentsError::Format`], or [`LatentsError::CutOff`] if the header has no end.
    pub fn open(path: &Path) -> Result<Self, LatentsError> {
        let file = File::open(path).map_err(LatentsError::Read)?;
        let len = file.metadata().map_err(LatentsError::Read)?.len();
        Self::read(BufReader::new(file), len)
    }

    /// Reads the header from the start of a file that has `len` bytes. Errors are those of [`Header::open`].
    pub fn read(mut file: impl Read, len: u64) -> Result<Self, LatentsError> {
        let mut start = [0; size_of::<u64>()];
        file.read_exact(&mut start).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => LatentsError::Format("it has only a few bytes".into()),
            _ => LatentsError::Read(e),
        })?;
        let size = u64::from_le_bytes(start);
        if size > MAX_HEADER {
            return Err(LatentsError::Format(format!("its header would have {size} bytes")));
        }
        let mut text = Vec::new();
        file.take(size).read_to_end(&mut text).map_err(LatentsError::Read)?;
        if (text.len() as u64) < size {
            return Err(LatentsError::CutOff { ours: looks_ours(&text) });
        }
        let metadata = parse(&text).map_err(|e| LatentsError::Format(e.to_string()))?;
        let start = start.len() as u64 + size;
        let is_complete = start.checked_add(metadata.data_len() as u64) == Some(len);
        Ok(Self { metadata, start, is_complete })
    }

    /// The shape `[n, c, h, w]` of the latents; n is 1 if the tensor has three dimensions.
    ///
    /// # Errors
    /// [`LatentsError::Tensor`] if the file has no latents, none with values, or too many: [`MAX_BATCH`] pictures of
    /// [`MAX_PIXELS`](crate::picture::MAX_PIXELS).
    ///
    /// [`MAX_BATCH`]: super::safetensors::MAX_BATCH
    pub fn shape(&self) -> Result<[usize; 4], LatentsError> {
        check_shape(&self.find()?.1.shape)
    }

    /// Where the values of the latents are in the file, in bytes. Errors are those of [`Header::shape`].
    pub fn values(&self) -> Result<Range<u64>, LatentsError> {
        self.shape()?;
        let (start, end) = self.find()?.1.data_offsets;
        let place = |offset: usize| self.start.saturating_add(offset as u64);
        Ok(place(start)..place(end))
    }

    /// The latents, of which `values` are those that are stored, and the name of their tensor.
    ///
    /// # Errors
    /// Those of [`Header::shape`] and [`Header::provenance`], or [`LatentsError::Tensor`] if the values are not floats.
    ///
    /// # Panics
    /// If `values` has another length than [`Header::values`].
    pub fn latents(&self, values: &[u8]) -> Result<(String, Latents), LatentsError> {
        let (name, info) = self.find()?;
        assert_eq!(values.len(), info.data_offsets.1 - info.data_offsets.0, "the bytes of `{name}`");
        let provenance = self.provenance()?.unwrap_or_default();
        Ok((name, Latents { tensor: read_tensor(info, values)?, provenance }))
    }

    /// The number of bytes of the whole file.
    pub fn file_size(&self) -> u64 {
        self.start.saturating_add(self.metadata.data_len() as u64)
    }

    /// Finds the latents. Returns their name, and what the header states of them.
    fn find(&self) -> Result<(String, &TensorInfo), LatentsError> {
        let tensors = self.metadata.tensors();
        let shapes: Vec<_> = tensors.iter().map(|(name, info)| (name.as_str(), &info.shape[..])).collect();
        let name = find_latents(&shapes)?;
        Ok((name.to_string(), tensors[name]))
    }

    /// The metadata; `None` if the file is from another program.
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.metadata.metadata().as_ref().filter(|metadata| is_ours(metadata))
    }

    /// Where the latents come from; `None` if the file is from another program.
    ///
    /// # Errors
    /// [`LatentsError::Metadata`] or [`LatentsError::Version`] if a value cannot be read.
    pub fn provenance(&self) -> Result<Option<Provenance>, LatentsError> {
        self.metadata().map(Provenance::from_metadata).transpose()
    }

    /// Whether the file has as many bytes as the header states.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

/// Whether a header that was cut off begins like one of ours. Its keys are sorted.
fn looks_ours(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.starts_with(r#"{"__metadata__":{"#)
        && text.contains(&format!(r#""format_version":"{FORMAT_VERSION}""#))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use crate::latents::{Latents, Provenance};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Header, LatentsError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("l.safetensors");
        std::fs::write(&path, bytes).expect("a file");
        Header::open(&path)
    }

    fn tensor() -> Tensor {
        Tensor::zeros((2, 4, 3, 5), DType::F32, &Device::Cpu).expect("zeros")
    }

    #[test]
    fn a_header_has_shape_and_metadata() {
        let latents = Latents { tensor: tensor(), provenance: Provenance::default() };
        let file = latents.to_safetensors(DType::F16).expect("writes");
        let header = read(&file).expect("a header");
        assert_eq!(header.shape().expect("latents"), [2, 4, 3, 5]);
        assert!(header.is_complete() && header.metadata().is_some_and(|m| m["software"].starts_with("vae ")));

        let stranger = safetensors::serialize([("samples", &tensor())], None).expect("serializes");
        let header = read(&stranger).expect("a header");
        assert!(header.is_complete() && header.metadata().is_none());
        assert_eq!(header.shape().expect("latents"), [2, 4, 3, 5]);
    }

    #[test]
    fn a_file_that_was_cut_off_is_noticed() {
        let latents = Latents { tensor: tensor(), provenance: Provenance::default() };
        let file = latents.to_safetensors(DType::F32).expect("writes");
        let data = 2 * 4 * 3 * 5 * size_of::<f32>();
        for len in 0..file.len() {
            match read(&file[..len]) {
                Ok(header) => assert!(!header.is_complete() && len >= file.len() - data),
                Err(LatentsError::CutOff { ours }) => {
                    assert!(len < file.len() - data && (!ours || len > 20), "{len}");
                }
                Err(other) => assert!(len < 8, "{len}: {other}"),
            }
        }
        assert!(matches!(read(&file[..file.len() - data - 1]), Err(LatentsError::CutOff { ours: true })));
        assert!(matches!(read(b"this is a text of another program"), Err(LatentsError::Format(_))));
        assert!(!read(&[&file[..], &[0]].concat()).expect("a header").is_complete());
    }
}
