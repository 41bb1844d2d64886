//! What can go wrong with a hub, and what to do about it.

use std::path::PathBuf;

/// Why the hub did not deliver.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Offline, and not in the cache.
    #[error("{repo} is not in the cache {}, and HF_HUB_OFFLINE forbids to download it; unset it, or point HF_HUB_CACHE at the right folder", cache.display())]
    Offline {
        /// The repository.
        repo: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// 404.
    #[error(
        "{endpoint} has no VAE in `{repo}` at revision `{revision}` (404): check the name, or --revision"
    )]
    NotFound {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// 401 or 403.
    #[error(
        "{endpoint} refuses access to `{repo}` ({status}): it is private, gated or gone; accept its terms on its page, and set HF_TOKEN or run `hf auth login`"
    )]
    Refused {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// 401 or 403.
        status: u16,
    },
    /// No connection, or one that broke.
    #[error(
        "cannot reach {endpoint}: {reason}; check the network (a proxy is taken from HTTPS_PROXY), or fetch the model elsewhere and name its folder with --model"
    )]
    Network {
        /// The hub.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
    /// The download stopped half way.
    #[error(
        "the download of `{file}` from {endpoint} broke off: {reason}; run the command again, it resumes where it stopped"
    )]
    BrokeOff {
        /// The hub.
        endpoint: String,
        /// The file.
        file: String,
        /// What went wrong.
        reason: String,
    },
    /// The bytes are not those that the hub announced.
    #[error(
        "`{file}` of `{repo}` arrived damaged and was deleted: its SHA-256 is {found}, the hub announced {expected}; run the command again"
    )]
    WrongDigest {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
        /// What the hub announced.
        expected: String,
        /// What was received.
        found: String,
    },
    /// No space left.
    #[error("the disk is full: there is no room for `{file}` in {}; free some, or set HF_HUB_CACHE to a folder on another disk", cache.display())]
    DiskFull {
        /// The file.
        file: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// The cache folder cannot be written.
    #[error("cannot write to the cache {}: {reason}; set HF_HUB_CACHE to a folder of yours", cache.display())]
    Cache {
        /// The cache folder.
        cache: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// An answer that is not the hub's protocol.
    #[error("{endpoint} does not answer as a Hugging Face hub does ({reason}); check HF_ENDPOINT")]
    Protocol {
        /// The hub.
        endpoint: String,
        /// What was odd.
        reason: String,
    },
}

impl HubError {
    /// Whether another mirror may have what this one has not.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Refused { .. })
    }
}
