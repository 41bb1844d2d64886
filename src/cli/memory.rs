//! Checks whether a picture fits into memory, because the system would end the whole run if it did not.

use anyhow::{Result, bail};
use serde::Serialize;

use vae::model::Config;

/// What will be computed.
#[derive(Clone, Copy)]
pub enum Direction {
    /// Picture → latents.
    Encode,
    /// Latents → picture.
    Decode,
}

/// Fails if the activations of a picture with `pixels` need more memory than is free.
///
/// Two feature maps of the picture's full size are alive at a time. The encoder's have the first of `block_out_channels`
/// as their channels; the decoder's last block has the second at its input and the first at its output.
pub fn check(direction: Direction, config: &Config, pixels: u64) -> Result<()> {
    let channels = &config.block_out_channels;
    let (first, second) = (channels[0] as u64, channels[1.min(channels.len() - 1)] as u64);
    let floats = match direction {
        Direction::Encode => 2 * first,
        Direction::Decode => first + second,
    };
    let needed = floats * pixels * size_of::<f32>() as u64;
    match Memory::current().free {
        Some(free) if needed > free => bail!(
            "this needs about {:.1} GB of memory, but only {:.1} GB are free: use a smaller picture, or crop it",
            needed as f64 / 1e9,
            free as f64 / 1e9
        ),
        _ => Ok(()),
    }
}

/// The memory of the machine in bytes; known on Linux only.
#[derive(Serialize)]
pub struct Memory {
    pub total: Option<u64>,
    /// Available without swapping.
    pub free: Option<u64>,
}

impl Memory {
    pub fn current() -> Self {
        Self { total: meminfo("MemTotal:"), free: meminfo("MemAvailable:") }
    }
}

fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_larger_than_memory_is_refused() {
        let json = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512]}"#;
        let config = Config::from_json(json).expect("a valid config");
        assert!(check(Direction::Encode, &config, 64 * 64).is_ok());
        assert!(check(Direction::Decode, &config, 64 * 64).is_ok());
        if Memory::current().free.is_some() {
            let error = check(Direction::Decode, &config, 1 << 45).expect_err("54 PB").to_string();
            assert!(error.contains("GB of memory"), "{error}");
        }
    }
}
