//! Downloads from a hub that breaks off, is silent, busy, damaged or lies.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use crate::support::hub_server::{Mood, digest};

use super::{CONFIG, FIRST, FULL, User, weights};

#[test]
fn credentials_in_the_endpoint_are_never_printed() {
    for (mood, host) in [
        (Mood::Status(404), None),
        (Mood::Status(401), None),
        (Mood::Status(500), None),
        (Mood::NoEtag, None),
        (Mood::CutOff(99), None),
        (Mood::Fine, Some("127.0.0.1:9")),
        (Mood::Fine, Some("127.0.0.1:x")),
    ] {
        let user = User::with(mood);
        let host = host.unwrap_or(user.hub.endpoint.trim_start_matches("http://"));
        let run = user.encode("", &[("HF_ENDPOINT", &format!("http://user:s3cret@{host}"))]).code(3);
        assert!(!run.stderr.contains("s3cret") && run.stderr.contains(host), "{}", run.stderr);
    }
}

#[test]
fn a_cut_download_resumes() {
    let user = User::with(Mood::CutOff(3));
    user.encode("", &[]).code(0).says(&["trying again"]);
    user.has_the_weights();
    let starts: Vec<Option<usize>> = user.hub.gets(FULL).iter().map(|r| r.start).collect();
    assert!(starts.len() == 4 && starts.is_sorted() && starts[0].is_none(), "{starts:?}");
}

#[test]
fn a_download_that_keeps_breaking_resumes_in_the_next_run() {
    let user = User::with(Mood::CutOff(6));
    user.encode("", &[]).code(3).says(&["interrupted", FULL, "resumes"]);
    assert!(!user.folder.path("l.safetensors").exists() && !user.cached(FULL).exists());
    assert_eq!(user.hub.gets(FULL).len(), 5, "five tries");
    user.encode("", &[]).code(0);
    user.has_the_weights();
    assert!(user.hub.gets(FULL)[5].start > Some(weights().len() / 2));
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let user = User::with(Mood::WithoutRanges);
    user.leave_partial(&weights()[..5000]);
    user.encode("", &[]).code(0);
    user.has_the_weights();
    assert_eq!(user.hub.gets(FULL)[0].start, Some(5000));
}

#[test]
fn a_refused_range_starts_over() {
    let user = User::with(Mood::RangesRefused);
    user.leave_partial(&weights()[..5000]);
    user.encode("", &[]).code(0);
    user.has_the_weights();
    let starts: Vec<Option<usize>> = user.hub.gets(FULL).iter().map(|r| r.start).collect();
    assert_eq!(starts, [Some(5000), None]);
}

/// Bytes that are received again are no progress, which would allow another five attempts.
#[test]
fn a_server_that_never_sends_the_whole_file_is_given_up() {
    let mut repository = super::repository(Mood::NeverWhole);
    repository.files.insert(FULL.into(), vec![7; 5 << 20]);
    let user = User::new([(FIRST, repository)]);
    user.encode("", &[]).code(3);
    assert!(user.hub.gets(FULL).len() <= 15, "{} requests", user.hub.gets(FULL).len());
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_a_partial_file_is_not_followed() {
    let user = User::with(Mood::Fine);
    let victim = user.folder.path("victim");
    std::fs::write(&victim, b"precious").expect("a file");
    let partial = user.leave_partial(b"");
    std::fs::remove_file(&partial).expect("a file");
    std::os::unix::fs::symlink(&victim, &partial).expect("a link");
    user.encode("", &[]).code(0);
    user.has_the_weights();
    assert_eq!(std::fs::read(victim).expect("a file"), b"precious");
}

#[test]
fn leftovers_of_an_earlier_download_are_completed_or_replaced() {
    let whole = weights();
    let too_long = [whole.as_slice(), b"more"].concat();
    let mut damaged = whole.clone();
    damaged[5000] ^= 1;
    for (leftover, gets) in
        [(whole.as_slice(), 0), (&too_long, 1), (&damaged, 1), (&damaged[..9000], 2), (&whole[..9000], 1)]
    {
        let user = User::with(Mood::Fine);
        user.leave_partial(leftover);
        user.encode("", &[]).code(0);
        user.has_the_weights();
        assert_eq!(user.hub.gets(FULL).len(), gets, "{} bytes", leftover.len());
    }
}

#[test]
fn a_damaged_download_is_deleted() {
    for (file, kind) in [(FULL, "SHA-256"), (CONFIG, "git SHA-1")] {
        let user = User::with(Mood::Damaged(file));
        user.encode("", &[]).code(3).says(&[file, kind, "deleted"]);
        assert!(!user.cached(file).exists());
        let blobs = fs::read_dir(user.cache(FIRST).join("blobs")).expect("a folder");
        assert_eq!(blobs.count(), usize::from(file == FULL), "only what is intact is left");
        user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(3);
        user.hub.set_mood(FIRST, Mood::Fine);
        user.encode("", &[]).code(0);
    }
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let user = User::with(Mood::TooLong);
    user.encode("", &[]).code(3).says(&[FULL, "longer than announced"]);
    assert!(!user.cached(FULL).exists());
}

#[test]
fn nothing_of_a_second_answer_becomes_a_path() {
    let user = User::with(Mood::EvilSecondAnswer);
    user.encode("", &[]).code(0);
    user.has_the_weights();
    let mut files: Vec<String> = user.folder.files().into_iter().collect();
    files.sort();
    assert_eq!(files, ["hf-home", "l.safetensors", "p.png"]);
}

#[test]
fn a_server_that_is_not_a_hub_is_reported() {
    User::with(Mood::NoEtag).encode("", &[]).code(3).says(&["HF_ENDPOINT"]);
    User::with(Mood::EvilEtag).encode("", &[]).code(3).says(&["invalid characters"]);
}

#[test]
fn a_busy_server_is_asked_again() {
    for (status, pause) in [(503, "x"), (429, "0"), (500, "")] {
        let user = User::with(Mood::Busy(4, status, pause));
        user.encode("", &[]).code(0).says(&["trying again", &status.to_string()]);
    }
    let user = User::with(Mood::Status(500));
    user.encode("", &[]).code(3).says(&["500", "try again later"]);
    assert_eq!(user.hub.requests().len(), 5, "five tries");
    let start = Instant::now();
    User::with(Mood::Busy(1, 429, "1")).encode("", &[]).code(0);
    assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After is honoured");
    let user = User::with(Mood::Busy(1, 429, "3600"));
    user.encode("", &[]).code(3).says(&["429", "3600 s"]);
    assert_eq!(user.hub.requests().len(), 1, "an hour is too long");
}

#[test]
fn a_silent_server_ends_in_an_error() {
    let start = Instant::now();
    let user = User::with(Mood::Silent);
    user.encode("", &[("HF_HUB_ETAG_TIMEOUT", "1")]).code(3).says(&["within 1 s", "HF_HUB_ETAG_TIMEOUT"]);
    let user = User::with(Mood::Stalling(1));
    user.encode("", &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")]).code(0).says(&["within 1 s", "trying again"]);
    user.has_the_weights();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_mirror_may_have_etags_that_are_not_gits() {
    let user = User::with(Mood::OtherEtags);
    user.encode("", &[]).code(0).says(&[CONFIG, "cannot be verified"]);
    let run = user.encode("", &[]).code(0);
    assert!(!run.stderr.contains("verified"), "{}", run.stderr);
    let user = User::new([(FIRST, super::repository(Mood::OtherEtags))]);
    user.hub.commit(FIRST, super::COMMIT, CONFIG, b"{ not JSON".to_vec());
    user.encode("", &[]).code(3).says(&[CONFIG, "git SHA-1", "deleted"]);
    assert!(!user.cached(CONFIG).exists());
}

#[test]
fn a_config_that_is_too_large_is_not_downloaded() {
    let mut repository = super::repository(Mood::Fine);
    repository.files.insert(CONFIG.into(), vec![b' '; (1 << 20) + 1]);
    let user = User::new([(FIRST, repository)]);
    user.encode("", &[]).code(3).says(&[CONFIG, "larger than 1048576 bytes"]);
    assert!(user.hub.gets(CONFIG).is_empty(), "{:?}", user.hub.requests());
}

/// A file in place of the folder of locks stands for a file system without locks.
#[test]
fn what_killed_downloads_have_left_is_removed_after_a_day() {
    for has_locks in [false, true] {
        let user = User::with(Mood::Fine);
        let partial = user.leave_partial(b"");
        fs::remove_file(&partial).expect("a file");
        if !has_locks {
            fs::write(user.folder.path("hf-home/hub/.locks"), "").expect("a file");
        }
        let blobs = partial.parent().expect("a folder");
        let snapshot = user.cached("vae");
        fs::create_dir_all(&snapshot).expect("a folder");
        let etag = digest(&weights());
        let old = [blobs.join(format!("{etag}.abc123.incomplete")), snapshot.join(".vae-abc123.tmp")];
        let other = [
            blobs.join(format!("{etag}.young1.incomplete")),
            snapshot.join(".vae-young1.tmp"),
            blobs.join("0123.abc123.incomplete"), // of another file
            snapshot.join("notes.tmp"),
        ];
        for path in old.iter().chain(&other) {
            let file = fs::File::create(path).expect("a file");
            if !path.to_string_lossy().contains("young") {
                file.set_modified(SystemTime::now() - Duration::from_secs(25 * 60 * 60)).expect("a time");
            }
        }
        let busy = blobs.join(format!("{etag}.locked.incomplete"));
        let lock = fs::File::create(&busy).expect("a file");
        lock.set_modified(SystemTime::now() - Duration::from_secs(25 * 60 * 60)).expect("a time");
        lock.lock().expect("a lock");
        user.encode("", &[]).code(0);
        assert_eq!(old.map(|path| path.exists()), [false; 2], "{has_locks}");
        assert_eq!(other.map(|path| path.exists()), [true; 4], "{has_locks}");
        assert!(busy.exists(), "it is locked");
    }
}
