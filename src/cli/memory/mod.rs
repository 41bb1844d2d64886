//! Checks whether a picture fits into memory, because the system would end the whole run if it did not.
//!
//! | file | what |
//! | --- | --- |
//! | `limits` | how much memory is free: of the machine, of the container, of `ulimit` |
//! | `maps` | how much a network needs |
//! | `needs` | how much a picture needs |

mod limits;
mod maps;
mod needs;

use anyhow::{Result, bail};

use vae::model::Config;
use vae::numbers;

pub use limits::Memory;
pub use needs::{Size, Work};

/// So few bytes are not worth a look at what is free, which takes the system as long as reading a small picture.
const FEW: u64 = 16 << 20;

/// Fails if `work` needs more memory than is free. `config` is the model's, if it computes in this memory.
pub fn check(work: Work, config: Option<&Config>) -> Result<()> {
    match work.needed(config, threads(config)) <= FEW {
        true => Ok(()),
        false => check_against(work, config, &Memory::current()),
    }
}

/// The number of threads that compute; this starts them.
fn threads(config: Option<&Config>) -> usize {
    config.map_or(1, |_| rayon::current_num_threads())
}

/// Fails if fewer than `needed` bytes are free for `what`, such as `the file`.
pub fn check_bytes(needed: u64, what: &str) -> Result<()> {
    if needed <= FEW {
        return Ok(());
    }
    let memory = Memory::current();
    match memory.free {
        Some(free) if needed > free => bail!(
            "{what} needs about {} of memory, but only {}{} are free",
            numbers::bytes(needed),
            numbers::bytes(free),
            allowed(&memory)
        ),
        _ => Ok(()),
    }
}

/// Names the limit that decides how much is free, if it is not the machine.
fn allowed(memory: &Memory) -> String {
    let limit = memory.limit.as_ref();
    limit.map_or(String::new(), |limit| {
        format!(" of the {} allowed by {}", numbers::bytes(limit.bytes), limit.source)
    })
}

fn check_against(work: Work, config: Option<&Config>, memory: &Memory) -> Result<()> {
    let threads = threads(config);
    let needed = work.needed(config, threads);
    let Some(free) = memory.free.filter(|&free| needed > free) else { return Ok(()) };
    let (width, height) = work.size();
    let advice = match (work, work.largest(free, config, threads)) {
        (Work::Decode { resized: Some(_), .. }, _) => "omit --original-size".into(),
        (_, Some((width, height))) => format!("a picture of about {width}×{height} would fit"),
        (_, None) => "even a small picture would not fit".into(),
    };
    bail!(
        "{width}×{height} pixels need about {} of memory, but only {}{} are free: {advice}",
        numbers::bytes(needed),
        numbers::bytes(free),
        allowed(memory)
    )
}

#[cfg(test)]
mod tests {
    use super::limits::Limit;
    use super::*;

    fn sd2() -> Config {
        let json = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}"#;
        Config::from_json(json).expect("a valid config")
    }

    /// Returns the error with this much memory, or an empty text.
    fn error(work: Work, free: u64, limit: Option<Limit>) -> String {
        let memory = Memory { total: Some(32 << 30), free: Some(free), limit };
        check_against(work, Some(&sd2()), &memory).map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn the_error_names_the_limit_and_a_size_that_fits() {
        let work = |original| Work::Encode { file: 0, original, multiple: 32 };
        assert_eq!(error(work((512, 512)), 2 << 30, None), "");
        let text = error(work((13376, 6688)), 3 << 30, None);
        assert!(text.starts_with("13376×6688 pixels need about 1"), "{text}");
        assert!(text.contains("but only 3.2 GB are free: a picture of about "), "{text}");
        let fits = text.rsplit("about ").next().and_then(|t| t.strip_suffix(" would fit")).expect("a size");
        let (width, height) = fits.split_once('×').expect("two sides");
        let size: Size = (width.parse().expect("a number"), height.parse().expect("a number"));
        assert!(size.0 >= 1024 && size.0.abs_diff(2 * size.1) <= 64, "{text}");
        assert_eq!(error(work(size), 3 << 30, None), "");
        assert_ne!(error(work((size.0 + 64, size.1 + 32)), 3 << 30, None), "");

        let limit = || Some(Limit { source: "the container", bytes: 300_000_000 });
        let text = error(work((1024, 1024)), 250_000_000, limit());
        assert!(
            text.contains("only 250 MB of the 300 MB allowed by the container are free: a pic"),
            "{text}"
        );
        let text = error(work((64, 64)), 1000, limit());
        assert!(text.ends_with("even a small picture would not fit"), "{text}");
    }

    #[test]
    fn the_size_after_decoding_counts() {
        let size = (64, 64);
        assert_eq!(error(Work::Decode { size, resized: None }, 1 << 30, None), "");
        let resized = Some((13376, 13376));
        assert!(error(Work::Decode { size, resized }, 1 << 30, None).contains("--original-size"));
    }
}
