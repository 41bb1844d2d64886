//! What can go wrong with a hub, and what to do about it.

use std::path::PathBuf;

use crate::checkpoint::families::{Family, NamedModel};

/// Why a file could not be loaded from the hub. An `endpoint` here never contains credentials.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Offline, and not in the cache.
    #[error("{repo} is not in the cache {}, and HF_HUB_OFFLINE is set: unset it to download the model, or set HF_HUB_CACHE to the cache that contains it; for a first try, --model tiny needs no download", cache.display())]
    Offline {
        /// The repository.
        repo: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// A revision that would leave the cache folder.
    #[error("`{revision}` is not a valid revision; --revision takes a branch, a tag or a commit")]
    InvalidRevision {
        /// The revision.
        revision: String,
    },
    /// Status 404.
    #[error(
        "{endpoint} has no VAE in `{repo}` at revision `{revision}` (404); check the name, or --revision"
    )]
    NotFound {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// Status 401 or 403.
    #[error("{endpoint} refuses access to `{repo}` ({status}): {}", permission(endpoint, repo, *status))]
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
        "cannot reach {endpoint}: {reason}; check the network (a proxy is taken from HTTPS_PROXY), or download the model on another machine and pass its folder to --model; for a first try, --model tiny needs no network"
    )]
    Network {
        /// The hub, or the host that it redirected to.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
    /// A status that asks to come back later.
    #[error("{endpoint} cannot answer now ({reason}); try again later")]
    Server {
        /// The hub.
        endpoint: String,
        /// The status.
        reason: String,
    },
    /// The download stopped before its end.
    #[error(
        "the download of `{file}` from {endpoint} was interrupted: {reason}; run the command again, it resumes where it stopped"
    )]
    Interrupted {
        /// The hub.
        endpoint: String,
        /// The file.
        file: String,
        /// What went wrong.
        reason: String,
    },
    /// A `config.json` or another small file that is too large to be one.
    #[error(
        "`{file}` is larger than {limit} bytes, which is the limit for such a file; check the name of the model"
    )]
    TooLarge {
        /// The repository and the file in it.
        file: String,
        /// The largest size in bytes.
        limit: u64,
    },
    /// The bytes are not those that the hub announced.
    #[error(
        "the download of `{file}` was damaged and has been deleted: its {kind} is {found}, but the hub states {expected}; run the command again"
    )]
    WrongDigest {
        /// The repository and the file in it.
        file: String,
        /// The kind of digest.
        kind: &'static str,
        /// The digest that the hub announced.
        expected: String,
        /// The digest of what was received.
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
    /// The cache folder cannot be used.
    #[error("cannot write to the cache {}: {reason}; set HF_HUB_CACHE to a folder that you can write to", cache.display())]
    Cache {
        /// The cache folder.
        cache: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// An answer that is not the hub's protocol.
    #[error("{endpoint} does not answer as a Hugging Face hub does ({reason}); check HF_ENDPOINT")]
    Protocol {
        /// The hub, or the host that it redirected to.
        endpoint: String,
        /// What was wrong.
        reason: String,
    },
}

/// Why a repository may be refused, and how to get access to it or to the same VAE.
fn permission(endpoint: &str, repo: &str, status: u16) -> String {
    let family = Family::of_repository(repo);
    let gated = NamedModel::all().flat_map(|model| model.repositories).any(|r| r.gated && r.id == repo);
    let why = if gated { "it is gated" } else { "it is private, gated or gone" };
    let accept = format!("accept its terms at {endpoint}/{repo}");
    let token = match status {
        403 => {
            "use a token (HF_TOKEN, or `hf auth login`) of the account that accepted them, which may read gated repositories"
        }
        _ => "set HF_TOKEN to a token of the account that accepted them, or run `hf auth login`",
    };
    let free = family
        .and_then(Family::free_model)
        .filter(|model| model.repositories.iter().any(|r| !r.gated && r.id != repo));
    let free = free.map(|model| {
        format!("; or use `--model {}`, a VAE of the same family that everybody can download", model.name)
    });
    format!("{why}; {accept}, and {token}{}", free.unwrap_or_default())
}

impl HubError {
    /// Whether another mirror may have what this one lacks.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Refused { .. })
    }

    /// What went wrong, without advice.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Network { endpoint, reason } | Self::Server { endpoint, reason } => {
                format!("{endpoint}: {reason}")
            }
            Self::Interrupted { file, reason, .. } => {
                format!("the download of `{file}` was interrupted: {reason}")
            }
            other => other.to_string(),
        }
    }

    /// The same error if it happens when the download of `file` is under way.
    pub(super) fn during_download(self, file: &str) -> Self {
        match self {
            Self::Network { endpoint, reason } | Self::Server { endpoint, reason } => {
                Self::Interrupted { endpoint, file: file.into(), reason }
            }
            other => other,
        }
    }
}
