//! Reads the header of a safetensors file: JSON with an object for each tensor, and texts in `__metadata__`.
//!
//! The format allows headers of 100 MB, and anything in them. Only the values that the format defines are kept, so that
//! the memory stays a small multiple of the text. The parser of the crate `safetensors` keeps all others, too, in up to
//! 40 times the memory of the text.

use std::collections::HashMap;
use std::fmt;

use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// The largest header that is read, in bytes: about 100,000 tensors. The largest checkpoints have a few thousand in a file.
pub const MAX_HEADER: u64 = 16 << 20;

/// Parses the JSON, and checks that names, shapes and offsets fit each other.
pub fn parse(text: &[u8]) -> Result<Metadata, SafeTensorError> {
    let Entries { metadata, tensors } =
        serde_json::from_slice(text).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    Metadata::new(metadata, tensors)
}

struct Entries {
    metadata: Option<HashMap<String, String>>,
    tensors: HashMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut metadata = None;
        let mut tensors = HashMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if key != "__metadata__" {
                tensors.insert(key, map.next_value()?);
            } else if metadata.replace(map.next_value()?).is_some() {
                return Err(Error::duplicate_field("__metadata__"));
            }
        }
        Ok(Entries { metadata: metadata.flatten(), tensors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_the_crate_reads_it() {
        let tensor =
            |start: usize| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":[{start},{}]}}"#, start + 8);
        let (first, second) = (tensor(0), tensor(8));
        for valid in [
            "{}".to_string(),
            r#"{"__metadata__":null}"#.into(),
            format!(r#"{{"b":{second},"a":{first}}}  "#),
            format!(r#"{{"__metadata__":{{"k":"v"}},"a":{first}}}"#),
            format!(r#"{{"a":{second},"a":{first}}}"#), // the last one counts
            format!(r#"{{"a":{}}}"#, first.replace('}', r#","other":[{"x":[1]}]}"#)),
        ] {
            let expected: Metadata = serde_json::from_str(&valid).unwrap_or_else(|e| panic!("{valid}: {e}"));
            let read = parse(valid.as_bytes()).unwrap_or_else(|e| panic!("{valid}: {e}"));
            assert_eq!(read.metadata(), expected.metadata(), "{valid}");
            assert_eq!(read.offset_keys(), expected.offset_keys(), "{valid}");
            assert_eq!(read.data_len(), expected.data_len(), "{valid}");
        }
        for invalid in [
            "".to_string(),
            "[]".into(),
            "{".into(),
            r#"{"a":[]}"#.into(),
            r#"{"a":[{"":0}]}"#.into(),
            r#"{"__metadata__":{"k":1}}"#.into(),
            r#"{"__metadata__":{},"__metadata__":{}}"#.into(),
            format!(r#"{{"a":{first}}} x"#),
            format!(r#"{{"a":{second}}}"#),
            format!(r#"{{"a":{first},"b":{first}}}"#),
            format!(r#"{{"a":{}}}"#, first.replace("F32", "F33")),
            format!(r#"{{"a":{}}}"#, first.replace("[2]", "[4294967296,4294967296,4294967296]")),
        ] {
            assert!(serde_json::from_str::<Metadata>(&invalid).is_err(), "{invalid}");
            assert!(parse(invalid.as_bytes()).is_err(), "{invalid}");
        }
    }
}
