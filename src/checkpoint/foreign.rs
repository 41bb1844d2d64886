//! What a file is that holds no VAE, in the words of an error message.
//!
//! People give a VAE's option many other files: the whole diffusion model, a LoRA, a web page that a download left. The message
//! names what they have, so that they know what to look for.

use super::Contents;

/// What a file is that is in none of the formats of weights, by its first bytes (some hundreds of them are enough) and its
/// name. `None` if it is unknown.
pub fn format_of(start: &[u8], name: &str) -> Option<&'static str> {
    let text = String::from_utf8_lossy(&start[..start.len().min(512)]).trim_start().to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    Some(match start {
        [] => "an empty file; download it again",
        _ if text.starts_with("version https://git-lfs") => {
            "a pointer of git-lfs, not the file itself; fetch the file with `git lfs pull`"
        }
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") || text.starts_with("<?xml") => {
            "a web page, not the file itself; download it again, with an access token if the server asks for one"
        }
        _ if text.starts_with('{') || text.starts_with("[") => "text in JSON, not weights",
        [b'G', b'G', b'U', b'F', ..] => {
            "a GGUF file, whose numbers are quantized; use the VAE's .safetensors file"
        }
        [0x08, ..] if name.ends_with(".onnx") || text.contains("pytorch") || text.contains("onnx") => {
            "an ONNX model; use the VAE's .safetensors file"
        }
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file; use the VAE's .safetensors file",
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => "an array of NumPy, not a model",
        [0x1f, 0x8b, ..] | [b'7', b'z', 0xbc, 0xaf, ..] | [b'R', b'a', b'r', b'!', ..] => {
            "a compressed archive; unpack it first"
        }
        _ if image::guess_format(start).is_ok() => "a picture, not a model",
        _ => return None,
    })
}

/// Parts of names by which a kind of file is recognized, and what it is. The first row with one that is in the file counts, so
/// whole checkpoints, which contain several kinds, come before those kinds alone.
const KINDS: &[(&[&str], &str)] = &[
    (
        &[
            ".lora_down.",
            ".lora_up.",
            ".lora_A.",
            ".lora_B.",
            ".lora.down.",
            "lora_unet_",
            "lora_te_",
            ".hada_w1_a",
            ".lokr_w1",
            ".oft_blocks",
        ],
        "a LoRA, which changes a diffusion model; it contains no VAE",
    ),
    (
        &["control_model.", "controlnet_", "input_hint_block.", "controlnet_cond_embedding."],
        "a ControlNet; it contains no VAE",
    ),
    (
        &[
            "model.diffusion_model.",
            "time_embedding.linear_1.",
            "time_embed.0.",
            "input_blocks.0.",
            "double_blocks.0.",
            "single_blocks.0.",
            "transformer_blocks.0.",
            "joint_blocks.0.",
            "time_text_embed.",
            "t_embedder.mlp.0.",
        ],
        "a diffusion model (a UNet or a transformer) without a VAE",
    ),
    (
        &[
            "text_model.encoder.layers.",
            "transformer.resblocks.",
            ".SelfAttention.q.",
            "token_embedding.weight",
            "embed_tokens.weight",
            "wte.weight",
            "lm_head.weight",
        ],
        "a text encoder or a language model, not a VAE",
    ),
    (
        &["vision_model.", "visual.patch_embed", "image_encoder."],
        "an image encoder such as CLIP's, not a VAE",
    ),
    (&["emb_params", "string_to_param"], "a textual inversion, not a VAE"),
    (
        &["encoder.stages.", "decoder.stages."],
        "a deep-compression autoencoder (DC-AE), which is not supported",
    ),
    (&["conv_first.weight", "model.1.sub.0."], "an upscaler, not a VAE"),
];

/// What a file is whose tensors are not those of a VAE.
pub fn kind_of(contents: &Contents) -> String {
    let tensors = &contents.tensors;
    let has = |part: &str| tensors.iter().any(|tensor| tensor.name.contains(part));
    if tensors.is_empty() {
        return "a file without any tensors; download it again".into();
    }
    if ["latents", "latent_tensor"].iter().any(|name| contents.get(name).is_some()) {
        return "a file of latents, which is an input of `vae decode`, not a model".into();
    }
    if let Some((_, kind)) = KINDS.iter().find(|(parts, _)| parts.iter().any(|part| has(part))) {
        return (*kind).into();
    }
    if tensors.iter().any(|tensor| tensor.shape.len() == 5) {
        return VIDEO.into();
    }
    let (first, count) = (&tensors[0].name, tensors.len());
    format!("of an unknown kind: none of its {count} tensors, such as `{first}`, is known from a VAE")
}

/// A VAE with convolutions in three dimensions that is not Wan 2.1's.
pub const VIDEO: &str =
    "a VAE for videos; of these, only Wan 2.1's, which is also Qwen-Image's, is supported";

/// Parts of names and the VAEs that they are from: such a VAE has the tensors of an AutoencoderKL and others besides, without which
/// it would compute something else.
const RELATIVES: &[(&str, &str)] = &[
    (".mix_factor", SVD),
    (".time_mix_conv.", SVD),
    (".time_stack.", SVD),
    (".temporal_res_block.", SVD),
    ("decoder.time_conv_out.", SVD),
    ("quantize.embedding", "a VQ autoencoder, whose latents are entries of a codebook; it is not supported"),
    (
        "decoder.condition_encoder.",
        "an AsymmetricAutoencoderKL, whose decoder also reads the masked picture; it is not supported",
    ),
    (".pool.", "a TAESD with pooling (taef2), which is not supported"),
];

const SVD: &str =
    "the VAE of Stable Video Diffusion, whose decoder works on several frames at once; it is not supported";

/// What a VAE is that has this tensor, if it is one that only looks like those that are supported.
pub fn relative_with(name: &str) -> Option<&'static str> {
    RELATIVES.iter().find(|(part, _)| name.contains(part)).map(|&(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::checkpoint::contents::Entry;

    fn contents(tensors: &[(&str, &[usize])]) -> Contents {
        let entry = |&(name, shape): &(&str, &[usize])| Entry {
            name: name.into(),
            dtype: "F32".into(),
            shape: shape.to_vec(),
        };
        let mut tensors: Vec<Entry> = tensors.iter().map(entry).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Contents { tensors, metadata: BTreeMap::new() }
    }

    #[test]
    fn a_file_is_called_what_it_is() {
        let kind = |name: &str| kind_of(&contents(&[(name, &[4, 4])]));
        for (name, word) in [
            ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "LoRA"),
            ("transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight", "LoRA"),
            ("model.diffusion_model.input_blocks.0.0.weight", "diffusion model"),
            ("double_blocks.0.img_attn.norm.key_norm.scale", "diffusion model"),
            ("time_embedding.linear_1.weight", "diffusion model"),
            ("control_model.input_blocks.0.0.weight", "ControlNet"),
            ("text_model.encoder.layers.0.mlp.fc1.weight", "text encoder"),
            ("encoder.block.0.layer.0.SelfAttention.q.weight", "text encoder"),
            ("latents", "latents"),
            ("emb_params", "textual inversion"),
            ("decoder.stages.0.op_list.0.main.conv.weight", "DC-AE"),
            ("x", "`x`"),
        ] {
            assert!(kind(name).contains(word), "{name}: {}", kind(name));
        }
        assert!(kind_of(&contents(&[])).contains("without any tensors"));
        let video = contents(&[("decoder.conv_in.conv.weight", &[8, 4, 3, 3, 3])]);
        assert!(kind_of(&video).contains("for videos"));
    }

    #[test]
    fn a_file_in_another_format_is_called_what_it_is() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice();
        for (bytes, name, word) in [
            (b"".as_slice(), "a", "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a", "git lfs pull"),
            (b"\n <!DOCTYPE html><html>", "a", "web page"),
            (b"<HTML lang=\"en\">", "a", "web page"),
            (b"{\"error\":\"no access\"}", "a", "JSON"),
            (b"GGUF\x03\0\0\0", "a", "GGUF"),
            (b"\x08\x07\x12\x07pytorch\x1a\x05", "a", "ONNX"),
            (b"\x08\x07\x12\x07", "A.ONNX", "ONNX"),
            (b"\x93NUMPY\x01\0", "a", "NumPy"),
            (b"\x1f\x8b\x08\0", "a", "archive"),
            (png, "a", "picture"),
        ] {
            assert!(format_of(bytes, name).is_some_and(|kind| kind.contains(word)), "{bytes:?}");
        }
        assert_eq!(format_of(&[0x41; 999], "a"), None);
        assert_eq!(format_of(&[0xff; 3], "a"), None);
    }
}
