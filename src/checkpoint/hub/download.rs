//! The download of one file: metadata, transfer, verification.
//!
//! The response to one HEAD request gives the commit, ETag and size of the file. Later responses are never used as a path
//! or a digest. A file is renamed to its final name after its digest has been verified.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checkpoint::{Weights, small_file};

use super::cache::is_plain;
use super::http::{Answer, Client, Fault, Retries};
use super::partial::{GIT_SHA1, Partial, verify_file};
use super::settings::DEFAULT_ENDPOINT;
use super::{HubError, Repository};

/// If a server asks for a longer pause, the download fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An attempt that receives this many bytes resets the count of retries.
const PROGRESS: u64 = 1 << 20;

/// The largest file that is accepted without an announced size. Only small files have none.
const LIMIT_WITHOUT_SIZE: u64 = 16 << 20;

/// What the hub announces about a file.
struct Remote<'f> {
    file: &'f str,
    etag: String,
    commit: String,
    size: Option<u64>,
}

impl Repository<'_> {
    /// Downloads `file` into the cache. Returns its path there.
    pub(super) fn download(&self, file: &str) -> Result<PathBuf, HubError> {
        let remote = self.ask_about(file)?;
        let explain = |e: io::Error| self.explain(e, file);
        let wait = || self.hub.note(&format!("waiting for another process, which is downloading `{file}`"));
        let lock = self.cache.lock(&remote.etag, wait).ok();
        self.cache.remove_leftovers(&remote.etag, &remote.commit, file);
        if !is_intact(&self.cache.blob(&remote.etag), &remote).map_err(explain)? {
            let path = self.cache.partial(&remote.etag);
            let partial = if lock.is_some() { Partial::open(&path) } else { Partial::create_beside(&path) };
            self.fetch_blob(&remote, partial.map_err(explain)?)?;
        }
        let path = self.cache.publish(&remote.etag, &remote.commit, file).map_err(explain)?;
        self.cache.point_to(&remote.commit).map_err(explain)?;
        Ok(path)
    }

    /// The commit to which the revision points now. `file` must exist there.
    pub(super) fn ask_for_commit(&self, file: &str) -> Result<String, HubError> {
        Ok(self.ask_about(file)?.commit)
    }

    fn ask_about<'f>(&self, file: &'f str) -> Result<Remote<'f>, HubError> {
        let client = Client::for_metadata(self.hub);
        let mut retries = Retries::new(self.hub);
        loop {
            let answer = client.head(&self.url(&self.revision, file));
            match answer.and_then(|answer| self.read_metadata(file, &answer)) {
                Ok(remote) => return Ok(remote),
                Err(fault) => retries.pause(fault)?,
            }
        }
    }

    fn read_metadata<'f>(&self, file: &'f str, answer: &Answer) -> Result<Remote<'f>, Fault> {
        let is_redirect = answer.response.status().is_redirection();
        if !is_redirect {
            self.check_status(answer)?;
        }
        let etag = header(answer, "X-Linked-Etag").or_else(|| header(answer, "ETag"));
        let (Some(etag), Some(commit)) = (etag, header(answer, "X-Repo-Commit")) else {
            return Err(Fault::Final(self.protocol("no ETag or no X-Repo-Commit".into())));
        };
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        if !is_plain(etag) || !is_plain(commit) {
            // They become file names in the cache.
            return Err(Fault::Final(self.protocol("the ETag or the commit has invalid characters".into())));
        }
        let length = || header(answer, "Content-Length").filter(|_| !is_redirect);
        let size = header(answer, "X-Linked-Size").or_else(length).and_then(|size| size.parse().ok());
        if size.is_some_and(|size| size > most(file)) {
            return Err(Fault::Final(self.too_large(file)));
        }
        Ok(Remote { file, etag: etag.into(), commit: commit.into(), size })
    }

    /// Downloads and verifies the content of a file.
    fn fetch_blob(&self, remote: &Remote, mut partial: Partial) -> Result<(), HubError> {
        let explain = |e: io::Error| self.explain(e, remote.file);
        let mut is_resumed = partial.len() > 0;
        loop {
            let received = self.receive(remote, &mut partial);
            if let Some(progress) = &self.hub.progress {
                progress.finish();
            }
            received?;
            match partial.verify(&remote.etag).map_err(explain)? {
                None => return partial.persist(&self.cache.blob(&remote.etag)).map_err(explain),
                Some(_) if is_resumed => {
                    // The part from an earlier run may be damaged.
                    partial.clear().map_err(explain)?;
                    is_resumed = false;
                }
                Some(wrong)
                    if wrong.kind == GIT_SHA1 && self.may_have_other_etags(remote, partial.path()) =>
                {
                    let file = remote.file;
                    self.hub.note(&format!(
                        "`{file}` cannot be verified: its ETag is not the hash that git computes"
                    ));
                    return partial.persist(&self.cache.blob(&remote.etag)).map_err(explain);
                }
                Some(wrong) => {
                    partial.delete().map_err(explain)?;
                    return Err(HubError::WrongDigest {
                        file: format!("{}/{}", self.id, remote.file),
                        kind: wrong.kind,
                        expected: remote.etag.clone(),
                        found: wrong.found,
                    });
                }
            }
        }
    }

    /// Whether 40 hexadecimal digits can be an ETag that is not git's: at a mirror, if the content is well-formed. Some
    /// mirrors have ETags of their own.
    fn may_have_other_etags(&self, remote: &Remote, path: &Path) -> bool {
        let is_json = || {
            let text = small_file::read(path).ok();
            text.is_some_and(|text| serde_json::from_str::<serde_json::Value>(&text).is_ok())
        };
        self.hub.endpoint != DEFAULT_ENDPOINT
            && match remote.file.rsplit_once('.') {
                Some((_, "json")) => is_json(),
                Some((_, "safetensors")) => Weights::open(path).is_ok(),
                _ => false,
            }
    }

    /// Appends to `partial` until it is complete, reconnecting as often as needed.
    fn receive(&self, remote: &Remote, partial: &mut Partial) -> Result<(), HubError> {
        let client = Client::for_download(self.hub);
        let mut retries = Retries::new(self.hub);
        let mut farthest = partial.len(); // bytes that are received again are no progress
        loop {
            let Err(fault) = self.receive_once(&client, remote, partial) else { return Ok(()) };
            if partial.len() >= farthest + PROGRESS {
                farthest = partial.len();
                retries.reset();
            }
            retries.pause(match fault {
                Fault::Transient(e, pause) => Fault::Transient(e.during_download(remote.file), pause),
                Fault::Unreachable(e) => Fault::Transient(e.during_download(remote.file), None),
                other => other,
            })?;
        }
    }

    /// Requests the missing bytes once, and appends what is received.
    fn receive_once(&self, client: &Client, remote: &Remote, partial: &mut Partial) -> Result<(), Fault> {
        let disk = |e: io::Error| Fault::Final(self.explain(e, remote.file));
        if remote.size.is_some_and(|size| partial.len() > size) {
            partial.clear().map_err(disk)?;
        }
        if remote.size == Some(partial.len()) {
            return Ok(());
        }
        let answer = client.get(&self.url(&remote.commit, remote.file), partial.len())?;
        match answer.response.status().as_u16() {
            200 => partial.clear().map_err(disk)?, // the server sends the whole file
            206 if starts_at(&answer, partial.len()) => {}
            416 if remote.size.is_none() && ends_at(&answer, partial.len()) => return Ok(()),
            status @ (206 | 416) => {
                partial.clear().map_err(disk)?;
                let reason = format!("it cannot resume the download (status {status})");
                return Err(Fault::Transient(self.server_error(reason), None));
            }
            _ => self.check_status(&answer)?,
        }
        self.append_body(client, remote, answer, partial)
    }

    fn append_body(
        &self,
        client: &Client,
        remote: &Remote,
        answer: Answer,
        partial: &mut Partial,
    ) -> Result<(), Fault> {
        let disk = |e: io::Error| Fault::Final(self.explain(e, remote.file));
        let body = answer.response.into_body();
        let total = remote.size.or_else(|| partial.len().checked_add(body.content_length()?));
        if let Some(progress) = &self.hub.progress {
            progress.start(&format!("{}/{}", self.id, remote.file), total, partial.len());
        }
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = reader.read(&mut buffer).map_err(|e| client.body_fault(e))?;
            if count == 0 {
                break;
            }
            let most = remote.size.unwrap_or(LIMIT_WITHOUT_SIZE.min(most(remote.file)));
            if partial.len() + count as u64 > most {
                partial.clear().map_err(disk)?;
                return Err(Fault::Final(
                    self.protocol(format!("`{}` is longer than announced", remote.file)),
                ));
            }
            partial.append(&buffer[..count]).map_err(disk)?;
            if let Some(progress) = &self.hub.progress {
                progress.advance(count as u64);
            }
        }
        if total.is_some_and(|total| partial.len() < total) {
            return Err(client.body_fault(ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    fn check_status(&self, answer: &Answer) -> Result<(), Fault> {
        let status = answer.response.status();
        let is_final = |error: HubError| Err(Fault::Final(error));
        match status.as_u16() {
            200 | 206 => Ok(()),
            404 if answer.from_hub => is_final(self.not_found()),
            status @ (401 | 403) if answer.from_hub => is_final(HubError::Refused {
                endpoint: self.hub.shown_endpoint(),
                repo: self.id.clone(),
                status,
            }),
            408 | 429 | 500..=599 => {
                let seconds = header(answer, "Retry-After").and_then(|seconds| seconds.parse().ok());
                match seconds.map(Duration::from_secs) {
                    Some(pause) if pause > LONGEST_PAUSE => is_final(
                        self.server_error(format!("{status}, with a request to wait {} s", pause.as_secs())),
                    ),
                    pause => Err(Fault::Transient(self.server_error(status.to_string()), pause)),
                }
            }
            // A link to a storage host, valid for a short time only; the next try gets a new one.
            _ if !answer.from_hub => Err(Fault::Transient(self.server_error(status.to_string()), None)),
            _ => is_final(self.protocol(format!("status {status}"))),
        }
    }

    fn url(&self, revision: &str, file: &str) -> String {
        format!("{}/{}/resolve/{}/{file}", self.hub.endpoint, self.id, percent_encoded(revision))
    }

    pub(super) fn not_found(&self) -> HubError {
        let (endpoint, repo) = (self.hub.shown_endpoint(), self.id.clone());
        HubError::NotFound { endpoint, repo, revision: self.revision.clone() }
    }

    fn protocol(&self, reason: String) -> HubError {
        HubError::Protocol { endpoint: self.hub.shown_endpoint(), reason }
    }

    fn too_large(&self, file: &str) -> HubError {
        HubError::TooLarge { file: format!("{}/{file}", self.id), limit: most(file) }
    }

    fn server_error(&self, reason: String) -> HubError {
        HubError::Server { endpoint: self.hub.shown_endpoint(), reason }
    }

    /// Turns an error of the file system into advice.
    fn explain(&self, error: io::Error, file: &str) -> HubError {
        let cache = self.hub.cache.clone();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                HubError::DiskFull { file: file.into(), cache }
            }
            _ => HubError::Cache { cache, reason: error.to_string() },
        }
    }
}

/// The most bytes that a file may have. Weights have no limit; their size is announced.
fn most(file: &str) -> u64 {
    if file.ends_with(".json") { small_file::MAX_SIZE } else { u64::MAX }
}

/// Whether the cache has the content already. The name of a file in the cache proves nothing.
fn is_intact(blob: &Path, remote: &Remote) -> io::Result<bool> {
    match blob.metadata() {
        Ok(found) if remote.size.is_none_or(|size| size == found.len()) => {
            Ok(verify_file(blob, &remote.etag)?.is_none())
        }
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(false),
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.response.headers().get(name)?.to_str().ok().map(str::trim)
}

/// Whether a partial answer begins at the byte `start`.
fn starts_at(answer: &Answer, start: u64) -> bool {
    header(answer, "Content-Range").is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

/// Whether a server that has nothing more to send names `length` as the length of the whole.
fn ends_at(answer: &Answer, length: u64) -> bool {
    header(answer, "Content-Range").is_some_and(|range| range == format!("bytes */{length}"))
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Hub;

    #[test]
    fn errors_of_the_file_system_become_advice() {
        let hub = Hub { cache: "cache".into(), ..Hub::from_env() };
        let repo = Repository::new(&hub, "a/b", "main");
        let explain = |kind: ErrorKind| repo.explain(kind.into(), "config.json").to_string();
        assert!(explain(ErrorKind::StorageFull).contains("disk is full"));
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem, ErrorKind::NotADirectory] {
            assert!(explain(kind).contains("HF_HUB_CACHE"));
        }
    }

    #[test]
    fn a_revision_is_one_part_of_the_url() {
        assert_eq!(percent_encoded("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(percent_encoded("v1.0-ü"), "v1.0-%C3%BC");
    }
}
