//! The evidence apart from the config: the diffusion model in the same file, the encoder, the metadata, and names.

use std::path::Path;

use crate::checkpoint::contents::Entry;
use crate::checkpoint::families::{Family, NamedModel};
use crate::checkpoint::fingerprint::{Fingerprint, Table};
use crate::model::Config;

use super::{Clues, Evidence};

/// One piece of evidence.
pub struct Hint {
    pub family: &'static Family,
    /// The model, if it is known more exactly.
    pub model: Option<&'static NamedModel>,
    pub evidence: Evidence,
}

impl Hint {
    /// Evidence for the model or family of this name; `None` if there is none, or if it does not have the network of `config`.
    fn new(name: &str, evidence: Evidence, config: &Config) -> Option<Self> {
        let model = NamedModel::named(name);
        let family = model.map(NamedModel::family).or_else(|| Family::named(name))?;
        let is_exact = model.is_some_and(|model| model.name != family.name);
        family.fits(config).then_some(Self { family, model: model.filter(|_| is_exact), evidence })
    }
}

/// Tensors of diffusion models, with the last dimension if it matters, and the family of their VAE. The names are those that
/// diffusers (`loaders/single_file_utils.py`) and ComfyUI tell models apart by. `model.diffusion_model.` can precede them.
const COMPANIONS: [(&str, Option<usize>, &str); 16] = [
    ("edm_mean", None, "playground"), // before Stable Diffusion XL, whose text encoder Playground has too
    ("conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias", None, "sdxl"),
    ("conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias", None, "sdxl"), // the refiner
    ("input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", Some(2048), "sdxl"),
    ("input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", Some(1280), "sdxl"), // the refiner
    ("double_layers.0.attn.w1q.weight", None, "sdxl"),                               // AuraFlow
    ("input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight", Some(1024), "sd2"),
    ("input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight", Some(768), "sd1"),
    ("input_blocks.10.0.skip_connection.bias", None, "x4-upscaler"),
    ("joint_blocks.0.context_block.adaLN_modulation.1.bias", None, "sd3"),
    ("single_stream_modulation.lin.weight", None, "flux2"),
    ("double_blocks.0.img_attn.norm.key_norm.scale", None, "flux1"),
    ("distilled_guidance_layer.in_proj.bias", None, "flux1"), // Chroma
    ("cap_embedder.0.weight", None, "flux1"),                 // Lumina 2
    ("layers.0.adaLN_modulation.0.weight", None, "flux1"),    // Z-Image
    ("double_stream_blocks.0.block.adaLN_modulation.1.bias", None, "flux1"), // HiDream
];

/// Beginnings of `modelspec.architecture`, and the family.
const ARCHITECTURES: [(&str, &str); 9] = [
    ("stable-diffusion-xl-v1", "sdxl"),
    ("stable-diffusion-v1", "sd1"),
    ("stable-diffusion-v2", "sd2"),
    ("stable-diffusion-v3", "sd3"),
    ("stable-diffusion-3", "sd3"),
    ("flux-1", "flux1"),
    ("flux-2", "flux2"),
    ("chroma", "flux1"),
    ("lumina-2", "flux1"),
];

/// Parts of file names, in lower case with `-` for every other separator and at both ends, and the model or family.
const FILE_NAMES: [(&str, &str); 38] = [
    ("taesdxl", "taesdxl"),
    ("taesd3", "taesd3"),
    ("taef1", "taef1"),
    ("taesd", "taesd"),
    ("playground", "playground"),
    ("x4-upscaler", "x4-upscaler"),
    ("sdxl-vae-fp16-fix", "sdxl-fp16-fix"),
    ("sdxl-fp16-fix", "sdxl-fp16-fix"),
    ("-flux2", "flux2"),
    ("-flux-2", "flux2"),
    ("-flux", "flux1"),
    ("chroma", "flux1"),
    ("lumina", "flux1"),
    ("z-image", "flux1"),
    ("-sd3", "sd3"),
    ("-sd-3", "sd3"),
    ("stable-diffusion-3", "sd3"),
    ("pixart-xl-", "sd1"), // PixArt-α; the XL is that of its transformer
    ("dit-xl-", "sd1"),
    ("sdxl", "sdxl"),
    ("-sd-xl", "sdxl"),
    ("stable-diffusion-xl", "sdxl"),
    ("-xl", "sdxl"),
    ("xl-", "sdxl"),
    ("-sd2", "sd2"),
    ("-sd-2", "sd2"),
    ("-sd-v2", "sd2"),
    ("stable-diffusion-2", "sd2"),
    ("stable-diffusion-v2", "sd2"),
    ("-sd1", "sd1"),
    ("-sd-1", "sd1"),
    ("-sd-v1", "sd1"),
    ("stable-diffusion-1", "sd1"),
    ("stable-diffusion-v1", "sd1"),
    ("vae-ft-mse", "ft-mse"),
    ("vae-ft-ema", "ft-ema"),
    ("-ft-mse-840000", "ft-mse"),
    ("-ft-ema-560000", "ft-ema"),
];

/// Beginnings of the names of files that were published under them, in the same form.
const WHOLE_FILE_NAMES: [(&str, &str); 7] = [
    ("-ae-", "flux1"),
    ("-v1-4-", "sd1"),
    ("-v1-5-", "sd1"),
    ("-v2-0-", "sd2"),
    ("-v2-1-", "sd2"),
    ("-768-v-ema-", "sd2"),
    ("-512-base-ema-", "sd2"),
];

/// All evidence apart from the config, the strongest first.
pub fn hints(clues: &Clues, table: &Table) -> Vec<Hint> {
    let config = clues.config;
    let companion = COMPANIONS.iter().find_map(|(name, last, family)| {
        let is_it = |tensor: &&Entry| {
            tensor.name.strip_prefix("model.diffusion_model.").unwrap_or(&tensor.name) == *name
                && last.is_none_or(|last| tensor.shape.last() == Some(&last))
        };
        let tensor = clues.contents.tensors.iter().find(is_it)?;
        Hint::new(family, Evidence::Companion(tensor.name.clone()), config)
    });

    let fingerprint = clues.first_layer.as_deref().and_then(Fingerprint::of);
    let row = fingerprint.as_ref().and_then(|fingerprint| table.find(fingerprint));
    let fingerprint =
        row.and_then(|row| Hint::new(&row.name, Evidence::Fingerprint(row.name.clone()), config));

    let architecture = clues.contents.metadata.get("modelspec.architecture").and_then(|text| {
        let (_, family) = ARCHITECTURES.iter().find(|(start, _)| text.to_lowercase().starts_with(start))?;
        Hint::new(family, Evidence::Architecture(text.clone()), config)
    });

    let named = clues.named.and_then(|model| Hint::new(model.name, Evidence::Name(model.name), config));
    let repository = clues.repository.map(str::to_string).or_else(|| repository_of(clues.file?));
    let repository = repository.and_then(|id| {
        let model = NamedModel::all().find(|model| model.repositories.iter().any(|r| r.id == id));
        let name = model.map(|model| model.name).or_else(|| Some(Family::of_repository(&id)?.name))?;
        Hint::new(name, Evidence::Repository(id), config)
    });

    let file = clues.file.and_then(|file| {
        let name = file.file_name()?.to_string_lossy().into_owned();
        let evidence = || Evidence::FileName(name.clone());
        let fitting = of_file_name(&file.file_stem()?.to_string_lossy());
        let fitting = fitting.into_iter().filter_map(|name| Hint::new(name, evidence(), config));
        let mut hints = fitting.collect::<Vec<_>>().into_iter();
        let first = hints.next()?;
        // A name that speaks of two families says nothing.
        hints.all(|hint| hint.family.scaling() == first.family.scaling()).then_some(first)
    });
    [companion, fingerprint, architecture, named, repository, file].into_iter().flatten().collect()
}

/// The repository of a file in the cache of the hub: `…/models--owner--name/snapshots/COMMIT/file`.
fn repository_of(file: &Path) -> Option<String> {
    let folders = file.components().filter_map(|part| part.as_os_str().to_str());
    let id = folders.filter_map(|folder| folder.strip_prefix("models--")).next_back()?;
    id.contains("--").then(|| id.replacen("--", "/", 1))
}

/// The models and families that the name of a file, without its extension, may speak of. A part of the name within a longer one
/// does not count: `flux` in `flux2`.
fn of_file_name(stem: &str) -> Vec<&'static str> {
    let name = format!("-{}-", stem.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "-"));
    if let Some((_, family)) = WHOLE_FILE_NAMES.iter().find(|(start, _)| name.starts_with(start)) {
        return vec![family];
    }
    let fitting: Vec<_> = FILE_NAMES.iter().filter(|(part, _)| speaks_of(&name, part)).collect();
    let is_within = |part: &str| fitting.iter().any(|(other, _)| *other != part && other.contains(part));
    fitting.iter().filter(|(part, _)| !is_within(part)).map(|(_, family)| *family).collect()
}

/// Whether a name has this part. A number at its end must not be the beginning of another one, apart from those of known
/// versions: 1.4, 1.5, 2.0, 2.1, 3.5.
fn speaks_of(name: &str, part: &str) -> bool {
    let versions: &[&str] = match part.as_bytes().last() {
        Some(b'1') => &["", "4", "5"],
        Some(b'2') => &["", "0", "1"],
        Some(b'3') => &["", "5"],
        _ => return name.contains(part),
    };
    name.match_indices(part).any(|(at, _)| {
        let rest = &name[at + part.len()..];
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        versions.contains(&digits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Contents;

    /// A config with this number of latent channels, at 1/8 or 1/4 of the picture's sides.
    fn config(latent_channels: usize, downscale: usize) -> Config {
        let blocks = if downscale == 8 { "[32, 32, 32, 32]" } else { "[32, 32, 32]" };
        let json = format!(
            r#"{{"_class_name": "AutoencoderKL", "latent_channels": {latent_channels}, "block_out_channels": {blocks}}}"#
        );
        Config::from_json(&json).expect("a config")
    }

    /// The families or models of all hints, for a file with these tensors, metadata and name.
    fn found(
        config: &Config,
        tensors: &[(&str, &[usize])],
        architecture: Option<&str>,
        file: &str,
    ) -> Vec<&'static str> {
        let entry = |&(name, shape): &(&str, &[usize])| Entry {
            name: name.into(),
            dtype: "F16".into(),
            shape: shape.into(),
        };
        let metadata = architecture.map(|text| ("modelspec.architecture".to_string(), text.to_string()));
        let contents = Contents {
            tensors: tensors.iter().map(entry).collect(),
            metadata: metadata.into_iter().collect(),
        };
        let clues = Clues {
            config,
            config_from: None,
            contents: &contents,
            first_layer: None,
            named: None,
            repository: None,
            file: Some(Path::new(file)),
        };
        let hints = hints(&clues, &Table::known());
        hints.iter().map(|hint| hint.model.map_or(hint.family.name, |model| model.name)).collect()
    }

    #[test]
    fn the_diffusion_model_in_the_file_tells_the_family() {
        let attention = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight";
        let deeper = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight";
        let clip = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias";
        let (sd, sd3) = (config(4, 8), config(16, 8));
        let one =
            |config: &Config, tensors: &[(&str, &[usize])]| found(config, tensors, None, "model.safetensors");
        assert_eq!(one(&sd, &[(attention, &[320, 768])]), ["sd1"]);
        assert_eq!(one(&sd, &[(attention, &[320, 1024])]), ["sd2"]);
        assert_eq!(one(&sd, &[(deeper, &[640, 768]), (attention, &[320, 768])]), ["sd1"]);
        assert_eq!(one(&sd, &[(clip, &[1280])]), ["sdxl"]);
        assert_eq!(one(&sd, &[(deeper, &[640, 2048])]), ["sdxl"]);
        assert_eq!(one(&sd, &[(clip, &[1280]), ("edm_mean", &[1, 4, 1, 1])]), ["playground"]);
        assert_eq!(
            one(
                &sd3,
                &[("model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias", &[9216])]
            ),
            ["sd3"]
        );
        for flux in [
            "double_blocks.0.img_attn.norm.key_norm.scale",
            "model.diffusion_model.distilled_guidance_layer.in_proj.bias",
        ] {
            assert_eq!(one(&sd3, &[(flux, &[128])]), ["flux1"]);
        }
        let upscale = "model.diffusion_model.input_blocks.10.0.skip_connection.bias";
        assert_eq!(one(&config(4, 4), &[(upscale, &[512])]), ["x4-upscaler"]);
        // Neither another family's key nor another shape says anything.
        for (name, shape) in [(attention, 640), (clip, 1280), ("edm_mean", 4)] {
            let config = if name == attention { &sd } else { &sd3 };
            assert!(one(config, &[(name, &[320, shape])]).is_empty(), "{name}");
        }
    }

    #[test]
    fn the_metadata_tells_the_family() {
        let one = |config: &Config, text: &str| found(config, &[], Some(text), "model.safetensors");
        let (sd, sd3) = (config(4, 8), config(16, 8));
        for (text, family) in [
            ("stable-diffusion-v1", "sd1"),
            ("stable-diffusion-v1/vae", "sd1"),
            ("stable-diffusion-v2-768-v", "sd2"),
            ("stable-diffusion-xl-v1-base", "sdxl"),
            ("Stable-Diffusion-XL-v1/vae", "sdxl"),
        ] {
            assert_eq!(one(&sd, text), [family], "{text}");
        }
        for (text, family) in [
            ("stable-diffusion-v3-medium", "sd3"),
            ("stable-diffusion-3-5-large", "sd3"),
            ("flux-1-dev", "flux1"),
            ("chroma", "flux1"),
        ] {
            assert_eq!(one(&sd3, text), [family], "{text}");
        }
        for text in ["flux-1-dev", "hunyuan-image-2.1", "", "vae"] {
            assert!(one(&sd, text).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_name_of_the_file_tells_the_family() {
        let one = |config: &Config, file: &str| found(config, &[], None, file);
        let (sd, sd3) = (config(4, 8), config(16, 8));
        for (file, family) in [
            ("vae-ft-mse-840000-ema-pruned.safetensors", "ft-mse"),
            ("VAE-ft-ema-560000-ema-pruned.ckpt", "ft-ema"),
            ("v1-5-pruned-emaonly.safetensors", "sd1"),
            ("sd-v1-4.ckpt", "sd1"),
            ("sd15_vae.safetensors", "sd1"),
            ("v2-1_768-ema-pruned.safetensors", "sd2"),
            ("sd21.safetensors", "sd2"),
            ("sdxl_vae.safetensors", "sdxl"),
            ("sdxl.vae.safetensors", "sdxl"),
            ("sd_xl_base_1.0.safetensors", "sdxl"),
            ("juggernautXL_v9.safetensors", "sdxl"),
            ("xlVAEC_c1.safetensors", "sdxl"),
            ("sdxl-vae-fp16-fix.safetensors", "sdxl-fp16-fix"),
            ("playground-v2.5-1024px-aesthetic.fp16.safetensors", "playground"),
        ] {
            assert_eq!(one(&sd, file), [family], "{file}");
        }
        for (file, family) in [
            ("ae.safetensors", "flux1"),
            ("flux1-dev.sft", "flux1"),
            ("z_image_turbo_bf16.safetensors", "flux1"),
            ("sd3_medium.safetensors", "sd3"),
            ("sd3.5_large.safetensors", "sd3"),
            ("stable-diffusion-3-vae.safetensors", "sd3"),
        ] {
            assert_eq!(one(&sd3, file), [family], "{file}");
        }
        // Names that speak of two families, of a number, or of the size of a transformer.
        for file in
            ["sd15_vae_not_sdxl.safetensors", "vae-ft-mse-for-xl.safetensors", "sd-1024px-vae.safetensors"]
        {
            assert!(one(&sd, file).is_empty(), "{file}");
        }
        for file in ["sd3-vae-from-flux.safetensors", "sd-384.safetensors", "influx.safetensors"] {
            assert!(one(&sd3, file).is_empty(), "{file}");
        }
        assert_eq!(one(&sd, "PixArt-XL-2-512x512.pth"), ["sd1"]);
        // A version of a VAE's own, words that contain others, and families with other latents.
        for file in [
            "vae.safetensors",
            "clearvae_v2-1.safetensors",
            "my-vae_v1-5.safetensors",
            "pixlr.safetensors",
            "diffusion_pytorch_model.safetensors",
            "ae.safetensors",
            "xsd3.safetensors",
            "",
            "-",
        ] {
            assert!(one(&sd, file).is_empty(), "{file}");
        }
        assert!(one(&sd3, "sdxl_vae.safetensors").is_empty());
        assert_eq!(one(&sd, "models--stabilityai--sdxl-vae/snapshots/0123/vae.safetensors"), ["sdxl"]);
        assert_eq!(
            one(&sd, "x/models--madebyollin--sdxl-vae-fp16-fix/snapshots/0/sdxl_vae.safetensors"),
            ["sdxl-fp16-fix", "sdxl"]
        );
        assert!(one(&sd, "models--somebody--else/snapshots/0/vae.safetensors").is_empty());
    }
}
