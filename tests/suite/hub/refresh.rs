//! Branches that move.

use std::fs;
use std::path::PathBuf;

use crate::support::hub_server::{COMMIT, Mood};

use super::{CONFIG, FIRST, FULL, User, weights};

const NEXT: &str = "89abcdef0123456789abcdef0123456789abcdef";
const NOWHERE: (&str, &str) = ("HF_ENDPOINT", "http://127.0.0.1:9");

/// A user whose cache has the first commit. The branch has moved since, to other weights.
fn user() -> User {
    let user = User::with(Mood::Fine);
    user.encode("", &[]).code(0);
    user.hub.commit(FIRST, NEXT, FULL, changed());
    user
}

fn changed() -> Vec<u8> {
    let mut changed = weights();
    *changed.last_mut().expect("a byte") ^= 1;
    changed
}

impl User {
    /// The file that remembers when the branch is asked for again.
    fn memory(&self) -> PathBuf {
        let files = fs::read_dir(self.folder.path("cache/vae/revisions")).expect("a folder");
        let mut files = files.map(|entry| entry.expect("an entry").path());
        let file = files.next().expect("a file");
        assert_eq!(files.next(), None);
        file
    }

    fn set_memory(&self, text: &str) {
        fs::write(self.memory(), text).expect("a file");
    }

    fn reference(&self) -> String {
        fs::read_to_string(self.cache(FIRST).join("refs/main")).expect("a ref")
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs()
}

#[test]
fn a_branch_is_asked_for_once_a_day() {
    let user = user();
    let before = user.hub.requests().len();
    let next: u64 = fs::read_to_string(user.memory()).expect("a file").trim().parse().expect("a time");
    assert!((86_000..=86_400).contains(&(next - now())), "a day");
    user.encode("", &[]).code(0);
    assert_eq!((user.hub.requests().len(), user.reference().as_str()), (before, COMMIT));

    user.set_memory(&(now() - 1).to_string());
    user.encode("", &[]).code(0).says(&["main", FIRST, "01234567 to 89abcdef", "can differ"]);
    assert_eq!(user.reference(), NEXT);
    let snapshot = user.cache(FIRST).join("snapshots").join(NEXT);
    assert!(fs::read(snapshot.join(FULL)).expect("a file") == changed());
    assert!(user.cached(FULL).exists(), "the old commit stays");
    assert_eq!((user.hub.gets(FULL).len(), user.hub.gets(CONFIG).len()), (2, 1), "the config is the same");
    let latents = fs::read(user.folder.path("l.safetensors")).expect("a file");
    let provenance = vae::latents::Latents::from_safetensors(&latents).expect("latents").provenance;
    assert_eq!(provenance.model_revision.as_deref(), Some(NEXT));

    let after = user.hub.requests().len();
    let run = user.encode("", &[]).code(0);
    assert!(user.hub.requests().len() == after && !run.stderr.contains("moved"), "{}", run.stderr);
}

#[test]
fn refresh_asks_at_once_and_an_unmoved_branch_needs_one_request() {
    let user = user();
    user.encode("--refresh", &[]).code(0).says(&["01234567 to 89abcdef"]);
    let before = user.hub.requests();
    let run = user.encode("--refresh", &[]).code(0);
    assert!(!run.stderr.contains("moved"), "{}", run.stderr);
    let after = user.hub.requests();
    assert_eq!((after.len(), after[before.len()].method.as_str()), (before.len() + 1, "HEAD"));
    // A time far in the future comes from a wrong clock.
    user.set_memory(&(now() + 200_000).to_string());
    user.encode("", &[]).code(0);
    assert_eq!(user.hub.requests().len(), after.len() + 1);
}

#[test]
fn commits_are_never_asked_for_and_nothing_is_offline() {
    let user = user();
    let before = user.hub.requests().len();
    user.encode(&format!("--refresh --revision {COMMIT}"), &[]).code(0);
    user.encode("--refresh", &[("HF_HUB_OFFLINE", "1")]).code(0).says(&["HF_HUB_OFFLINE"]);
    user.set_memory("0");
    user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(0);
    assert_eq!((user.hub.requests().len(), user.reference().as_str()), (before, COMMIT));
    user.encode("--refresh --model tiny", &[]).code(2).says(&["--refresh is for models on the hub"]);
}

#[test]
fn an_unreachable_hub_is_tried_once_and_mentioned_with_refresh_only() {
    let user = user();
    for mood in [Mood::Silent, Mood::Status(500), Mood::Status(404), Mood::NoEtag] {
        user.hub.set_mood(FIRST, mood);
        let before = user.hub.requests().len();
        user.set_memory("0");
        let run = user.encode("", &[("HF_HUB_ETAG_TIMEOUT", "1")]).code(0);
        assert!(!run.stderr.contains("127.0.0.1") && !run.stderr.contains("trying again"), "{}", run.stderr);
        user.encode("", &[("HF_HUB_ETAG_TIMEOUT", "1")]).code(0);
        assert_eq!(user.hub.requests().len(), before + 1, "one try");
        user.encode("--refresh", &[("HF_HUB_ETAG_TIMEOUT", "1")])
            .code(0)
            .says(&["using the commit 01234567"]);
    }
    user.encode("--refresh", &[NOWHERE]).code(0).says(&[NOWHERE.1, "using the commit 01234567", FIRST]);
    assert_eq!(user.reference(), COMMIT);
}

/// The cache never points to a commit of which only some files are there.
#[test]
fn a_new_commit_that_cannot_be_downloaded_leaves_the_old_one() {
    let user = user();
    user.hub.set_mood(FIRST, Mood::Damaged(FULL));
    let run = user.encode("--refresh", &[]).code(0).says(&["SHA-256", "using the commit 01234567"]);
    assert!(run.stderr.contains("moved"), "{}", run.stderr);
    assert_eq!(user.reference(), COMMIT);
    let latents = fs::read(user.folder.path("l.safetensors")).expect("a file");
    let provenance = vae::latents::Latents::from_safetensors(&latents).expect("latents").provenance;
    assert_eq!(provenance.model_revision.as_deref(), Some(COMMIT));
    user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(0);
    user.hub.set_mood(FIRST, Mood::Fine);
    user.encode("--refresh", &[]).code(0);
    assert_eq!(user.reference(), NEXT);
}
