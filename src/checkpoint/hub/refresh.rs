//! Branches and tags that move.
//!
//! The hub is asked for the commit of a branch or tag in the cache once a day. When to ask again is a number of seconds
//! since 1970, in a file for each revision, `vae/revisions/NAME` in the user's cache folder. NAME is the SHA-256 of the
//! endpoint, the cache folder, the repository and the revision.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::cache_folder;
use crate::checkpoint::Variant;
use crate::checkpoint::weights::hex;

use super::cache::is_commit;
use super::{Files, HubError, Repository};

/// When the commit of a branch or tag that is in the cache is asked for again. A revision that is a commit is never asked
/// for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Never: the cached commit is used.
    Never,
    /// If it was last asked for more than a day ago. If the hub cannot be reached, nothing is said.
    Daily,
    /// Always. If the hub cannot be reached, a note says that the cached commit is used.
    Always,
}

/// The pause after an answer.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause after an attempt without an answer.
const PAUSE: Duration = Duration::from_secs(10 * 60);

impl Repository<'_> {
    /// Returns the files of the commit to which the revision points now, or `cached` if that is the same commit or is not
    /// available.
    pub(super) fn refresh(&self, cached: Files, variant: Variant) -> Files {
        if self.hub.offline && self.hub.refresh == Refresh::Always {
            self.hub.note("HF_HUB_OFFLINE is set, so no branch or tag is refreshed");
        }
        let Some(old) = cached.commit.clone().filter(|_| self.is_due()) else { return cached };
        match self.changed_files(&old, cached.folder, variant) {
            Ok(None) => cached,
            Ok(Some(files)) => files,
            Err(e) => {
                if self.hub.refresh == Refresh::Always {
                    let (id, old) = (&self.id, short(&old));
                    self.hub.note(&format!("{}; using the commit {old} of {id} from the cache", e.reason()));
                }
                cached
            }
        }
    }

    /// Asks for the commit, and downloads its files if it is not `old`. The cache points to the new commit when all its
    /// files are there.
    fn changed_files(&self, old: &str, folder: &str, variant: Variant) -> Result<Option<Files>, HubError> {
        let impatient = self.hub.impatient();
        let answer = Repository::new(&impatient, &self.id, &self.revision)
            .ask_for_commit(&format!("{folder}config.json"));
        let has_answer = !matches!(answer, Err(HubError::Network { .. } | HubError::Server { .. }));
        self.ask_again_after(if has_answer { DAY } else { PAUSE });
        let new = answer?;
        if new == old {
            return Ok(None);
        }
        self.hub.note(&format!(
            "`{}` of {} has moved from commit {} to {}; latents of the two can differ",
            self.revision,
            self.id,
            short(old),
            short(&new)
        ));
        let files = Repository::new(self.hub, &self.id, &new).files(variant)?;
        // A cache that cannot be written keeps the old commit, and the next run asks again.
        let _ = self.cache.point_to(&new);
        Ok(Some(files))
    }

    fn is_due(&self) -> bool {
        if self.hub.offline || is_commit(&self.revision) {
            return false;
        }
        match self.hub.refresh {
            Refresh::Never => false,
            Refresh::Always => true,
            Refresh::Daily => {
                let text = self.memory().and_then(|path| fs::read_to_string(path).ok());
                let next: Option<u64> = text.and_then(|text| text.trim().parse().ok());
                // A time that is too late was written when the clock was wrong.
                next.is_none_or(|next| !(now()..=now() + DAY.as_secs()).contains(&next))
            }
        }
    }

    /// Remembers, if possible, that the commit need not be asked for during `pause`.
    pub(super) fn ask_again_after(&self, pause: Duration) {
        if let Some(path) = self.memory().filter(|_| !is_commit(&self.revision))
            && path.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok())
        {
            let _ = fs::write(path, format!("{}\n", now() + pause.as_secs()));
        }
    }

    fn memory(&self) -> Option<PathBuf> {
        let key = [
            self.hub.shown_endpoint(),
            format!("{:?}", self.hub.cache),
            self.id.clone(),
            self.revision.clone(),
        ];
        Some(cache_folder::of_vae()?.join("revisions").join(hex(&Sha256::digest(key.join("\n")))))
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The first digits of a commit, for messages.
fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}
