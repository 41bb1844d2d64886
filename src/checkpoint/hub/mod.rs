//! A checkpoint on the Hugging Face hub, through the cache folder that Python's `huggingface_hub` also uses.
//!
//! A file that is in the cache is used without asking the network, except that the commits of branches and tags are asked
//! for once a day ([`Refresh`]).
//!
//! | file | what |
//! | --- | --- |
//! | `settings` | the environment variables |
//! | `cache` | the names of files in the cache: snapshots, refs, blobs, locks |
//! | `http` | one request: redirects, the token, time-outs, retries |
//! | `download` | one file: metadata, transfer, verification |
//! | `partial` | the bytes that have arrived so far |
//! | `refresh` | branches and tags that move |
//! | `error` | what can go wrong, with advice |

mod cache;
mod download;
mod error;
mod http;
mod partial;
mod refresh;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, iter};

use serde::Serialize;

pub use error::HubError;
pub use refresh::Refresh;

use super::{Checkpoint, CheckpointError, NamedModel, Origin, Variant, families};
use cache::{RepoCache, is_valid_revision};

/// How long to wait for what is not essential.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How to reach the hub, and where its files are kept.
#[derive(Clone)]
pub struct Hub {
    /// The hub's URL, without a slash at the end.
    pub endpoint: String,
    /// The access token, which is sent to `endpoint` and to no other host.
    pub token: Option<String>,
    /// The cache folder.
    pub cache: PathBuf,
    /// Use only files that are in the cache.
    pub offline: bool,
    /// When the commit of a branch or tag in the cache is asked for again.
    pub refresh: Refresh,
    /// How long to wait for a connection or for data when asking about a file.
    pub metadata_timeout: Duration,
    /// How long to wait for a connection or for data during a download.
    pub download_timeout: Duration,
    /// The pause before the first retry; each further pause is twice as long, up to 8 times this one.
    #[doc(hidden)]
    pub retry_delay: Duration,
    /// How often a request is tried.
    #[doc(hidden)]
    pub tries: u32,
    /// Receives the progress of downloads.
    pub progress: Option<Arc<dyn Progress>>,
}

/// A VAE in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cached {
    /// The repository.
    pub id: &'static str,
    /// The commit.
    pub revision: Option<String>,
    /// The size of its files.
    pub bytes: u64,
}

/// Receives the progress of downloads.
pub trait Progress: Send + Sync {
    /// A transfer of `file` begins or begins again: `done` of its `total` bytes are on disk already.
    fn start(&self, file: &str, total: Option<u64>, done: u64);
    /// `bytes` more have arrived.
    fn advance(&self, bytes: u64);
    /// The transfer has ended, successfully or not.
    fn finish(&self);
    /// Something that the user may want to know, such as that another process is downloading the same file.
    fn note(&self, message: &str);
}

impl Hub {
    /// Opens the VAE of the first of `mirrors` that is in the cache, or else of the first that the hub has.
    ///
    /// `mirrors` must not be empty. `revision` is a branch, tag or commit, by default `main`.
    pub fn open(
        &self,
        mirrors: &[&str],
        revision: Option<&str>,
        variant: Variant,
    ) -> Result<Checkpoint, CheckpointError> {
        let revision = revision.unwrap_or("main");
        if !is_valid_revision(revision) {
            return Err(HubError::InvalidRevision { revision: revision.into() }.into());
        }
        let offline = Self { offline: true, ..self.clone() };
        for id in mirrors {
            let repo = Repository::new(&offline, id, revision);
            if let Ok(files) = repo.files(variant) {
                return repo.open(Repository::new(self, id, revision).refresh(files, variant));
            }
        }
        let mut first_error = None;
        for id in mirrors {
            let repo = Repository::new(self, id, revision);
            match repo.files(variant) {
                Ok(files) => {
                    if let Some(HubError::Refused { repo, status, .. }) = &first_error {
                        self.note(&format!(
                            "access to {repo} is refused ({status}); using {id}, which has the same weights"
                        ));
                    }
                    repo.ask_again_after(refresh::DAY);
                    return repo.open(files);
                }
                Err(e) if e.is_absence() => first_error = first_error.or(Some(e)),
                Err(e) => return Err(e.into()),
            }
        }
        Err(first_error.expect("there is at least one mirror").into())
    }

    /// The first of `repositories` that is in the cache with a VAE at its `main` branch. The hub is not asked.
    pub fn cached(&self, repositories: &[families::Repository]) -> Option<Cached> {
        let offline = Self { offline: true, ..self.clone() };
        repositories.iter().find_map(|&families::Repository { id, .. }| {
            let repository = Repository::new(&offline, id, "main");
            let mut found = [Variant::Full, Variant::Fp16].map(|variant| repository.files(variant).ok());
            if let [Some(full), Some(fp16)] = &found
                && full.weights == fp16.weights
            {
                found[1] = None;
            }
            let files = found.iter().flatten();
            let config = files.clone().next()?.config.clone();
            let paths = iter::once(&config).chain(files.map(|files| &files.weights));
            let bytes = paths.map(|path| path.metadata().map_or(0, |file| file.len())).sum();
            Some(Cached { id, revision: repository.cache.commit(), bytes })
        })
    }

    /// The path of one more file of a repository, if it is available. The hub is tried once, and not for long.
    pub(super) fn fetch(&self, id: &str, revision: &str, file: &str) -> Option<PathBuf> {
        Repository::new(&self.impatient(), id, revision).file(file).ok()
    }

    /// The same hub for what is not essential: one try, with short time-outs.
    fn impatient(&self) -> Self {
        Self {
            tries: 1,
            metadata_timeout: self.metadata_timeout.min(SHORT_TIMEOUT),
            download_timeout: self.download_timeout.min(SHORT_TIMEOUT),
            ..self.clone()
        }
    }

    /// The endpoint as messages show it: `https://user:secret@host` becomes `https://host`.
    pub fn shown_endpoint(&self) -> String {
        self.without_credentials(&self.endpoint)
    }

    /// Removes the endpoint's user name and password from `text`.
    fn without_credentials(&self, text: &str) -> String {
        let start = self.endpoint.find("://").map_or(0, |at| at + 3);
        let rest = &self.endpoint[start..];
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        // A password with a slash that is not encoded ends the authority too early, and stands where the port should.
        let is_cut = !authority.contains('@') && port.contains(|c: char| !c.is_ascii_digit() && c != ']');
        match if is_cut { rest.rfind('@') } else { authority.rfind('@') } {
            Some(at) => text.replace(&rest[..=at], ""),
            None => text.to_string(),
        }
    }

    fn note(&self, message: &str) {
        if let Some(progress) = &self.progress {
            progress.note(message);
        }
    }
}

impl fmt::Debug for Hub {
    /// Shows no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.shown_endpoint())
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// One repository at one revision.
struct Repository<'a> {
    hub: &'a Hub,
    id: String,
    revision: String,
    cache: RepoCache,
}

/// Paths of a VAE's two files, both of one commit.
struct Files {
    /// The folder in the repository, `vae/` or empty.
    folder: &'static str,
    config: PathBuf,
    weights: PathBuf,
    commit: Option<String>,
}

impl<'a> Repository<'a> {
    fn new(hub: &'a Hub, id: &str, revision: &str) -> Self {
        let cache = RepoCache::new(&hub.cache, id, revision);
        Self { hub, id: id.into(), revision: revision.into(), cache }
    }

    fn open(&self, files: Files) -> Result<Checkpoint, CheckpointError> {
        let origin = Origin { model: self.id.clone(), revision: files.commit, note: None };
        Checkpoint::read(files.config, files.weights, origin)
    }

    /// Config and weights of one commit, downloaded if they are not in the cache.
    fn files(&self, variant: Variant) -> Result<Files, HubError> {
        let config = || self.first_of([("vae/", "vae/config.json"), ("", "config.json")]);
        let (folder, mut path) = config()?;
        let commit = self.cache.commit();
        let [wanted, other] = variant.file_names(&path);
        let (_, weights) = self.first_of([
            (wanted, format!("{folder}{wanted}").as_str()),
            (other, format!("{folder}{other}").as_str()),
        ])?;
        let now = self.cache.commit();
        if now != commit {
            (_, path) = config()?; // the branch has moved since
        }
        Ok(Files { folder, config: path, weights, commit: now })
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
        match self.cache.file(file) {
            Some(path) => Ok(path),
            // Offline, a repository may lack one file and have the other one under another name.
            None if self.hub.offline && self.cache.commit().is_some() => Err(self.not_found()),
            None if self.hub.offline => {
                Err(HubError::Offline { repo: self.id.clone(), cache: self.hub.cache.clone() })
            }
            None => self.download(file),
        }
    }
}

/// Returns a warning unless the checkpoint's digest is one of those that the model is known to have.
pub(super) fn doubt(checkpoint: &Checkpoint, model: &NamedModel) -> Result<Option<String>, CheckpointError> {
    if model.sha256.is_empty() {
        return Ok(None);
    }
    let found = checkpoint.sha256()?;
    let (id, title) = (&checkpoint.origin().model, model.family().title);
    Ok((!model.sha256.contains(&found)).then(|| {
        format!(
            "the weights of {id} are not the known weights of {title}: their SHA-256 is {found}, the known ones are {}",
            model.sha256.join(" and ")
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_the_endpoint_are_not_shown() {
        let shown = |endpoint: &str| Hub { endpoint: endpoint.into(), ..Hub::from_env() }.shown_endpoint();
        assert_eq!(shown("https://user:s3cret@host:8080/a@b"), "https://host:8080/a@b");
        assert_eq!(shown("https://host/a@b"), "https://host/a@b");
        assert_eq!(shown("user:p@ss@host"), "host");
        assert_eq!(shown("https://user:p/a#s@s@host/x"), "https://host/x");
        assert_eq!(shown("https://[::1]/a@b"), "https://[::1]/a@b");
        let hub = Hub {
            endpoint: "http://u:s3cret@host".into(),
            token: Some("hf_secret".into()),
            ..Hub::from_env()
        };
        let debug = format!("{hub:?}");
        assert!(!debug.contains("s3cret") && !debug.contains("hf_secret"), "{debug}");
    }
}
