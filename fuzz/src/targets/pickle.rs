//! PyTorch's checkpoints.

use std::fs;

use candle_core::{DType, Device};
use candle_nn::var_builder::SimpleBackend;

use vae::checkpoint::Weights;
use vae::model::Tensors;

/// Larger tensors are not read.
const MOST_VALUES: usize = 65_536;

/// Opens a checkpoint and reads all of its tensors.
///
/// After the first byte of `data` comes the file, or its pickle if the first byte is not 0: then the file is a zip file with
/// the right checksum, and three storages of 64 bytes.
pub fn run(data: &[u8]) {
    let Some((&kind, content)) = data.split_first() else { return };
    let storage = [0x3c; 64];
    let file = match kind {
        0 => content.to_vec(),
        _ => zip(&[
            ("a/data.pkl", content),
            ("a/data/0", &storage),
            ("a/data/1", &storage),
            ("a/data/2", &storage),
        ]),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    fs::write(&path, file).expect("a file");
    let Ok(weights) = Weights::open(&path) else { return };
    for tensor in weights.contents().tensors.iter().filter(|tensor| tensor.values() <= MOST_VALUES) {
        let is_float = ["F16", "BF16", "F32", "F64"].contains(&tensor.dtype.as_str());
        let read = Tensors::get(&weights, &tensor.name, &tensor.shape);
        assert_eq!(read.is_ok(), is_float, "{tensor:?}: {read:?}");
        if let Ok(parameter) = read {
            assert_eq!(parameter.to_f32().expect("floats").len(), tensor.values());
            let candle = weights.get_unchecked(&tensor.name, DType::F32, &Device::Cpu).expect("a tensor");
            assert_eq!(candle.dims(), tensor.shape);
        }
    }
}

/// A zip file with these members, stored without compression.
pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let offset = file.len() as u32;
        let [size, length] = [content.len() as u32, name.len() as u32];
        // The version, flags, method, time and date; the checksum and both sizes; the lengths of the name and of nothing.
        let mut facts = [20u16, 0, 0, 0, 0].map(u16::to_le_bytes).concat();
        facts.extend([crc32(content), size, size, length].map(u32::to_le_bytes).concat());
        for part in [&b"PK\x03\x04"[..], &facts, name.as_bytes(), content] {
            file.extend(part);
        }
        for part in [&b"PK\x01\x02\x14\0"[..], &facts, &[0; 10], &offset.to_le_bytes(), name.as_bytes()] {
            directory.extend(part);
        }
    }
    let [start, size] = [file.len() as u32, directory.len() as u32];
    let count = (members.len() as u16).to_le_bytes();
    for part in [
        &directory,
        &b"PK\x05\x06\0\0\0\0"[..],
        &count,
        &count,
        &size.to_le_bytes(),
        &start.to_le_bytes(),
        &[0; 2],
    ] {
        file.extend(part);
    }
    file
}

/// The checksum of zip files.
pub fn crc32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), shift))
}
