"""Writes the golden data of other VAEs of the family into family/:  python tests/golden/family.py

Requires the packages of make.py. All weights are computed from names and shapes by formulas.py. Each file has the stages of
encoding a picture and decoding its latents: x, h, moments, noise, latents, z, dec, and the 8-bit picture.

sdxl, flux1        the full models
sd1, sd3           with fewer channels
playground         with fewer channels; statistics of each latent channel
x4_upscaler        with fewer channels; three levels
kl_f4              with fewer channels; three latent channels
kl_f16             with fewer channels; attention at the deepest level, and 1x1 convolutions between 16 and 8 channels. diffusers has
                   no such 1x1 convolutions, so they are applied by hand
flux2              with fewer channels, and others in the decoder; the mean, patches and the batch norm
"""

import sys

sys.dont_write_bytecode = True

import json

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.flux2.pipeline_flux2 import Flux2Pipeline

import make
from formulas import formula_weights, picture
from make import SD2, SEED, check_versions

SMALL = {**SD2, "block_out_channels": [32, 64, 64, 64]}


def levels(n, attention=()):
    """The block types of n levels, and with attention at some of them, counted from the picture's resolution."""
    def kind(i, name):
        return ("Attn" if i in attention else "") + name
    return dict(down_block_types=[kind(i, "DownEncoderBlock2D") for i in range(n)],
                up_block_types=[kind(i, "UpDecoderBlock2D") for i in reversed(range(n))])


FLUX1 = SD2 | dict(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False,
                   scaling_factor=0.3611, shift_factor=0.1159)
CONFIGS = {
    "sdxl": SD2 | dict(scaling_factor=0.13025, force_upcast=True),
    "flux1": FLUX1,
    "sd1": {key: value for key, value in SMALL.items() if key != "scaling_factor"},
    "sd3": {**FLUX1, **SMALL, "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609},
    "playground": SMALL | dict(scaling_factor=0.5, latents_mean=[-1.6574, 1.886, -1.383, 2.5155],
                               latents_std=[8.4927, 5.9022, 6.5498, 5.2299]),
    "x4_upscaler": SMALL | dict(block_out_channels=[32, 64, 64], scaling_factor=0.08333) | levels(3),
    "kl_f4": SMALL | dict(block_out_channels=[32, 64, 128], latent_channels=3, scaling_factor=1.0) | levels(3),
    "kl_f16": SMALL | dict(block_out_channels=[32, 32, 64, 64, 128], latent_channels=16, use_quant_conv=False,
                           use_post_quant_conv=False, scaling_factor=0.2325) | levels(5, attention=[4]),
    "flux2": {key: value for key, value in (SMALL | dict(
        latent_channels=32, decoder_block_out_channels=[32, 32, 64, 96])).items() if key != "scaling_factor"},
}
# Of kl_f16: channels of the latents, between its 1x1 convolutions.
EMBED = 8


def with_formula_weights(model):
    for name, tensor in model.state_dict().items():
        if not name.startswith("bn."):
            tensor.copy_(torch.from_numpy(formula_weights(name, tuple(tensor.shape))))
    return model.eval()


def point(name, c_in, c_out):
    """A 1x1 convolution with formula weights."""
    conv = torch.nn.Conv2d(c_in, c_out, 1)
    conv.weight.copy_(torch.from_numpy(formula_weights(f"{name}.weight", (c_out, c_in, 1, 1))))
    conv.bias.copy_(torch.from_numpy(formula_weights(f"{name}.bias", (c_out,))))
    return conv


def make_file(name, config, x):
    flux2 = name == "flux2"
    model = with_formula_weights((AutoencoderKLFlux2 if flux2 else AutoencoderKL).from_config(config))
    quant_conv, post_quant_conv = model.quant_conv, model.post_quant_conv
    if name == "kl_f16":
        channels = config["latent_channels"]
        quant_conv = point("quant_conv", 2 * channels, 2 * EMBED)
        post_quant_conv = point("post_quant_conv", EMBED, channels)
    x = torch.from_numpy(x)
    out = {"x": x, "h": model.encoder(x)}
    moments = quant_conv(out["h"]) if quant_conv is not None else out["h"]
    mean, logvar = moments.chunk(2, dim=1)
    if flux2:
        count = model.bn.running_mean.shape[0]
        model.bn.running_mean.copy_(torch.sin(torch.arange(count) * 0.7))
        model.bn.running_var.copy_(1.5 + torch.cos(torch.arange(count) * 1.3))
        assert torch.equal(mean, model.encode(x).latent_dist.mode())
        # As in Flux2Pipeline._encode_vae_image and its decoding.
        std = torch.sqrt(model.bn.running_var.view(1, -1, 1, 1) + model.config.batch_norm_eps)
        shift = model.bn.running_mean.view(1, -1, 1, 1)
        latents = (Flux2Pipeline._patchify_latents(mean) - shift) / std
        z = Flux2Pipeline._unpatchify_latents(latents * std + shift)
        out |= {"running_mean": model.bn.running_mean, "running_var": model.bn.running_var}
    else:
        noise = torch.randn(mean.shape, generator=torch.Generator("cpu").manual_seed(SEED))
        sample = mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * noise
        if name != "kl_f16":
            assert torch.equal(sample, model.encode(x).latent_dist.sample(torch.Generator("cpu").manual_seed(SEED)))
        scale, shift = model.config.scaling_factor, model.config.shift_factor or 0.0
        if model.config.latents_mean is not None:
            # As in StableDiffusionXLImg2ImgPipeline.prepare_latents and StableDiffusionXLPipeline.__call__.
            mean_, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (model.config.latents_mean, model.config.latents_std))
            latents = (sample - mean_) * scale / std
            z = latents * std / scale + mean_
        else:
            latents = (sample - shift) * scale
            z = latents / scale + shift
        out["noise"] = noise
    out |= {"moments": moments, "latents": latents}
    out["z"] = post_quant_conv(z) if post_quant_conv is not None else z
    dec = model.decoder(out["z"])
    if name != "kl_f16":
        assert torch.equal(dec, model.decode(z).sample)
    out["dec"] = dec
    pictures = VaeImageProcessor().postprocess(dec, output_type="pil")
    tensors = {key: value.contiguous().numpy() for key, value in out.items()}
    tensors["picture_u8"] = np.asarray(pictures[0])
    make.save(f"family/{name}", tensors, config=json.dumps({"_class_name": type(model).__name__, **config}),
              embed=str(EMBED if name == "kl_f16" else ""), seed=str(SEED),
              torch=make.VERSIONS["torch"], diffusers=make.VERSIONS["diffusers"])


def main():
    check_versions()
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    (make.HERE / "family").mkdir(exist_ok=True)
    for name, config in CONFIGS.items():
        make_file(name, config, picture(64, 48, 2) if name in ["sdxl", "flux1"] else picture(32, 64, 3))


if __name__ == "__main__":
    main()
