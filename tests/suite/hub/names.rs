//! The models that have names, and gated repositories.

use serde_json::{Value, json};

use super::*;

const SCHNELL: &str = "black-forest-labs/FLUX.1-schnell";
const LUMINA: &str = "Alpha-VLLM/Lumina-Image-2.0";
const SD3: &str = "stabilityai/stable-diffusion-3.5-medium";

/// The row of `vae models --json` for a model.
fn listed(user: &User, name: &str) -> Value {
    let rows = user.run("models --json", &[("HF_HUB_OFFLINE", "1")]).code(0).json();
    rows.into_iter().find(|row| row["name"] == name).expect("the model is listed")
}

#[test]
fn the_list_of_models_shows_what_is_in_the_cache_without_asking_the_hub() {
    let user = User::new([("stabilityai/sdxl-vae", repository(Mood::Fine))]);
    let row = listed(&user, "sdxl");
    assert!(row.get("cached").is_none() && row["gated"] == false, "{row}");
    assert_eq!((&row["family"], &row["scaling_factor"]), (&json!("sdxl"), &json!(0.13025)));
    assert!(user.hub.requests().is_empty());

    user.encode("--model sdxl", &[]).code(0);
    let config = fs::read(user.folder.path("model/config.json")).expect("a file");
    let bytes = weights().len() + config.len();
    let asked = user.hub.requests().len();
    let cached = json!({"id": "stabilityai/sdxl-vae", "revision": COMMIT, "bytes": bytes});
    assert_eq!(listed(&user, "sdxl")["cached"], cached);
    assert!(listed(&user, "sdxl-fp16-fix").get("cached").is_none());
    user.run("models", &[]).code(0).prints(&["stabilityai/sdxl-vae", "0.13025", "gated: accept"]);
    assert_eq!(user.hub.requests().len(), asked, "the hub is not asked");
}

#[test]
fn both_number_formats_in_the_cache_are_counted() {
    let user = User::with(Mood::Fine);
    user.encode("", &[]).code(0);
    let full = listed(&user, "sd2")["cached"]["bytes"].as_u64().expect("a size");
    fs::write(user.cached(FP16), [0; 1000]).expect("a file");
    assert_eq!(listed(&user, "sd2")["cached"]["bytes"], json!(full + 1000));
    fs::remove_file(user.cached(CONFIG)).expect("a file");
    assert!(listed(&user, "sd2").get("cached").is_none(), "weights without a config cannot be used");
}

#[test]
fn every_name_is_listed_and_downloads_from_its_repositories() {
    let user = User::new([]);
    let rows = user.run("models --json", &[]).code(0).json();
    assert!(rows.len() > 15);
    for row in &rows[1..] {
        let (name, id) = (row["name"].as_str().expect("a name"), row["repositories"][0]["id"].as_str());
        let run = user.encode(&format!("--model {name} --quiet"), &[]).code(3);
        assert!(run.stderr.contains(id.expect("an id")), "{name}: {}", run.stderr);
    }
}

#[test]
fn a_gated_repository_says_what_to_do() {
    for (status, advice) in [(401, "HF_TOKEN to a token"), (403, "may read gated repositories")] {
        let ids =
            ["stabilityai/stable-diffusion-3.5-large", "stabilityai/stable-diffusion-3-medium-diffusers"];
        let all = ids.into_iter().chain([SD3]).map(|id| (id, repository(Mood::Status(status))));
        let user = User::new(all);
        let page = format!("{}/{SD3}", user.hub.endpoint);
        let run = user.encode("--model sd3", &[]).code(3);
        let run = run.says(&[SD3, &status.to_string(), "is gated", "accept", &page, advice]);
        assert!(!run.stderr.contains("or use"), "nobody has it without terms: {}", run.stderr);
    }
}

#[test]
fn a_gated_repository_names_the_model_that_everybody_can_download() {
    for id in ["black-forest-labs/FLUX.1-dev", SCHNELL] {
        let user = User::new([(id, repository(Mood::Status(401)))]);
        user.encode(&format!("--model {id}"), &[]).code(3).says(&[id, "401", "--model flux1"]);
    }
    let gone = "stabilityai/stable-diffusion-2-1";
    let user = User::new([(gone, repository(Mood::Status(401)))]);
    user.encode(&format!("--model {gone}"), &[]).code(3).says(&["private, gated or gone", "--model sd2"]);
}

#[test]
fn a_gated_repository_is_replaced_by_a_free_one_with_a_note() {
    let user = User::new([(SCHNELL, repository(Mood::Status(401))), (LUMINA, repository(Mood::Fine))]);
    user.encode("--model flux1", &[]).code(0).says(&[SCHNELL, "401", LUMINA, "same weights"]);
    assert_eq!(listed(&user, "flux1")["cached"]["id"], LUMINA);
    let before = user.hub.requests().len();
    let again = user.encode("--model flux1", &[]).code(0);
    assert!(!again.stderr.contains(SCHNELL), "{}", again.stderr);
    assert_eq!(user.hub.requests().len(), before, "the one in the cache is used");
}

#[test]
fn a_token_opens_the_gated_repository() {
    let locked = Repository { token: Some("hf_secret".into()), ..repository(Mood::Fine) };
    let user = User::new([(SCHNELL, locked), (LUMINA, repository(Mood::Fine))]);
    user.encode("--model flux1", &[("HF_TOKEN", "hf_secret")]).code(0);
    assert_eq!(listed(&user, "flux1")["cached"]["id"], SCHNELL);
}

#[test]
fn a_name_wins_over_a_folder_of_the_same_name() {
    let user = User::new([]);
    crate::support::model_folder::write(&user.folder.path("sdxl"));
    user.encode("--model sdxl", &[]).code(3).says(&["stabilityai/sdxl-vae"]);
    user.encode("--model ./sdxl", &[]).code(0);
}

/// The configs of TAESD and of TAESDXL are equal.
#[test]
fn the_name_or_the_repository_decides_the_family_of_a_tiny_model() {
    let config = r#"{"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [16, 16, 16, 16],
        "decoder_block_out_channels": [16, 16, 16, 16], "num_encoder_blocks": [1, 0, 1, 1], "num_decoder_blocks": [1, 1, 0, 1]}"#;
    let folder = Folder::new();
    let tensors = crate::support::model_folder::tensors_of(config);
    crate::support::model_folder::write_with(&folder.path("m"), config, &tensors);
    let read = |name: &str| (name.to_string(), fs::read(folder.path("m").join(name)).expect("a file"));
    let files = [read("config.json"), read("diffusion_pytorch_model.safetensors")];
    let repository = || Repository { files: files.clone().into(), ..repository(Mood::Fine) };
    let user = User::new([("madebyollin/taesd", repository()), ("madebyollin/taesdxl", repository())]);
    for (model, evidence, family, factor) in [
        ("taesd", "name", "taesd", 0.18215),
        ("taesdxl", "name", "taesdxl", 0.13025),
        ("madebyollin/taesdxl", "repository", "taesdxl", 0.13025),
    ] {
        let report = user.run(&format!("inspect --json --model {model}"), &[]).code(0).json().remove(0);
        assert_eq!(
            (&report["evidence"], &report["families"], &report["scaling_factor"]),
            (&json!(evidence), &json!([family]), &json!(factor)),
            "{model}"
        );
    }
    user.encode("--model taesdxl", &[]).code(0);
    let latents = fs::read(user.folder.path("l.safetensors")).expect("a file");
    let scaling = vae::latents::Latents::from_safetensors(&latents).expect("latents").provenance.scaling;
    assert_eq!(scaling.map(|scaling| scaling.factor), Some(0.13025));
}
