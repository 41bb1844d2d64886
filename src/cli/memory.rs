//! Whether a picture fits into memory: better said before it is tried than by the system, which ends the whole run.

use anyhow::{Result, bail};

use vae::model::Config;

/// What is to be done.
#[derive(Clone, Copy)]
pub enum Work {
    /// Picture → latents.
    Encode,
    /// Latents → picture.
    Decode,
}

/// Refuses a picture of `pixels` whose activations need more than the memory that is free.
///
/// Two maps are alive at a time. At the picture's full size the encoder's have the first of `block_out_channels`; the
/// decoder's largest comes in with the second and goes out with the first.
pub fn check(work: Work, config: &Config, pixels: u64) -> Result<()> {
    let channels = &config.block_out_channels;
    let (first, second) = (channels[0] as u64, channels[1.min(channels.len() - 1)] as u64);
    let floats = match work {
        Work::Encode => 2 * first,
        Work::Decode => first + second,
    };
    let needed = floats * pixels * size_of::<f32>() as u64;
    match available() {
        Some(free) if needed > free => bail!(
            "it needs about {:.1} GB of memory, and {:.1} GB are free: make it smaller, or cut it into parts",
            needed as f64 / 1e9,
            free as f64 / 1e9
        ),
        _ => Ok(()),
    }
}

/// Bytes that can be taken without driving out others; known on Linux.
pub fn available() -> Option<u64> {
    meminfo("MemAvailable:")
}

/// Bytes that the machine has; known on Linux.
pub fn total() -> Option<u64> {
    meminfo("MemTotal:")
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
    fn what_no_machine_has_is_refused() {
        let json = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512]}"#;
        let config = Config::from_json(json).expect("a valid config");
        assert!(check(Work::Encode, &config, 64 * 64).is_ok());
        assert!(check(Work::Decode, &config, 64 * 64).is_ok());
        if available().is_some() {
            let error = check(Work::Decode, &config, 1 << 45).expect_err("54 PB").to_string();
            assert!(error.contains("GB of memory"), "{error}");
        }
    }
}
