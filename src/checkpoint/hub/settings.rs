//! The settings of a [`Hub`], from the environment variables that Python's `huggingface_hub` reads:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `HF_ENDPOINT` | the hub, by default <https://huggingface.co> |
//! | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN` | the access token |
//! | `HF_TOKEN_PATH` | the file in which `hf auth login` stored the token, by default `$HF_HOME/token` |
//! | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | 1: send no token |
//! | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE` | the cache folder, by default `$HF_HOME/hub` |
//! | `HF_HOME` | by default `huggingface` in `$XDG_CACHE_HOME` or `~/.cache` |
//! | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | 1: use only what is in the cache |
//! | `HF_HUB_ETAG_TIMEOUT` | seconds to wait for an answer about a file, by default 10 |
//! | `HF_HUB_DOWNLOAD_TIMEOUT` | seconds to wait for data of a file, by default 10 |
//!
//! `VAE_HUB_RETRY_DELAY_MS` shortens the pauses between retries in tests.

#[cfg(test)]
use std::path::PathBuf;
use std::time::Duration;

use crate::cache_folder::{self, expand};

use super::{Hub, Refresh};

/// The largest number of seconds or milliseconds that is not reduced.
const LONGEST: u64 = 1_000_000;
/// The hub itself, not a mirror.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

const DEFAULT_TIMEOUT: u64 = 10;
const DEFAULT_RETRY_DELAY_MS: u64 = 1000;

/// How often a request is tried before giving up.
const TRIES: u32 = 5;

impl Hub {
    /// Reads the environment as Python's `huggingface_hub` does. There is no progress report.
    pub fn from_env() -> Self {
        Self::from_variables(cache_folder::variable)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let var = &variable;
        let folder = |name: &str| var(name).map(|value| expand(&value, var));
        let is_true = |name: &str| {
            var(name).is_some_and(|v| matches!(v.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
        };
        let number = |name: &str, default: u64| {
            let number: Option<u64> = var(name).and_then(|v| v.trim().parse().ok());
            number.filter(|&n| n > 0).unwrap_or(default).min(LONGEST)
        };
        let home = folder("HF_HOME").unwrap_or_else(|| cache_folder::of_user(var).join("huggingface"));
        let token = || {
            let file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            var("HF_TOKEN")
                .or_else(|| var("HUGGING_FACE_HUB_TOKEN"))
                .or_else(|| std::fs::read_to_string(file).ok())
                .map(|token| token.trim().to_string())
                .filter(|token| !token.is_empty())
        };
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        Self {
            endpoint: endpoint.trim().trim_end_matches('/').to_string(),
            token: if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { token() },
            cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| home.join("hub")),
            offline: is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"),
            metadata_timeout: Duration::from_secs(number("HF_HUB_ETAG_TIMEOUT", DEFAULT_TIMEOUT)),
            download_timeout: Duration::from_secs(number("HF_HUB_DOWNLOAD_TIMEOUT", DEFAULT_TIMEOUT)),
            retry_delay: Duration::from_millis(number("VAE_HUB_RETRY_DELAY_MS", DEFAULT_RETRY_DELAY_MS)),
            refresh: Refresh::Daily,
            tries: TRIES,
            progress: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        Hub::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_defaults_are_those_of_python() {
        let hub = hub(&[("XDG_CACHE_HOME", "/cache")]);
        assert_eq!(hub.endpoint, "https://huggingface.co");
        assert_eq!(hub.cache, PathBuf::from("/cache/huggingface/hub"));
        assert_eq!((hub.offline, hub.token.as_deref()), (false, None));
        let ten = Duration::from_secs(10);
        assert_eq!((hub.metadata_timeout, hub.download_timeout), (ten, ten));
    }

    #[test]
    fn variables_override_the_defaults() {
        let got = hub(&[
            ("HF_HOME", "${ROOT}/hf"),
            ("ROOT", "/root"),
            ("HF_TOKEN", " hf_x \n"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("TRANSFORMERS_OFFLINE", "yes"),
            ("HF_HUB_ETAG_TIMEOUT", "3"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
        ]);
        assert_eq!((got.endpoint.as_str(), got.offline), ("http://mirror", true));
        assert_eq!((got.cache, got.token.as_deref()), ("/root/hf/hub".into(), Some("hf_x")));
        let seconds = (got.metadata_timeout.as_secs(), got.download_timeout.as_secs());
        assert_eq!(seconds, (3, 10), "zero means the default");
        let old = hub(&[("HUGGINGFACE_HUB_CACHE", "$NONE/a"), ("HUGGING_FACE_HUB_TOKEN", "old")]);
        assert_eq!((old.cache, old.token.as_deref()), ("$NONE/a".into(), Some("old")));
        let off = hub(&[("HF_TOKEN", "hf_x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert_eq!(off.token, None);
    }
}
