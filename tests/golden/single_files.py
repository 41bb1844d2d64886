"""Writes single_files.json into the folder of this file:  python tests/golden/single_files.py

Requires exactly torch 2.15.0 and diffusers 0.42.1.

For small models of each kind, it lists the config and every tensor: its shape and name in diffusers, and its shape and name
in files of the model's authors. The authors' names come from the lists of modules below, which follow the authors' code and
not the tables of this project. diffusers then converts a file with these names, and must find in it each tensor of its own
model, in its own shape. Two cases have no converter in diffusers, and their rules are written out here: attention inside
levels, which diffusers' converter leaves as it is, and TAESD, whose authors' model is built here and must compute what
diffusers' computes.
"""

import sys

sys.dont_write_bytecode = True

import importlib.metadata
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLWan, AutoencoderTiny
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint, convert_wan_vae_to_diffusers
from torch import nn

HERE = Path(__file__).resolve().parent
VERSIONS = {"torch": "2.15.0", "diffusers": "0.42.1"}


def kl(channels, layers=2, attention=(), **other):
    """The config of an AutoencoderKL, with attention in the levels `attention`."""
    levels = range(len(channels))
    down = ["AttnDownEncoderBlock2D" if i in attention else "DownEncoderBlock2D" for i in levels]
    up = ["AttnUpDecoderBlock2D" if i in attention else "UpDecoderBlock2D" for i in reversed(levels)]
    return dict(block_out_channels=channels, layers_per_block=layers, down_block_types=down, up_block_types=up,
                norm_num_groups=32, act_fn="silu", **other)


NO_QUANT = dict(use_quant_conv=False, use_post_quant_conv=False)

KL = {
    "sd": kl([32, 32, 64, 64], latent_channels=4),
    "sd3": kl([32, 64, 64, 64], latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609, **NO_QUANT),
    "kl-f4": kl([32, 64, 96], latent_channels=3),
    "one-layer": kl([32, 32], layers=1, latent_channels=4),
    "kl-f16": kl([32, 32, 64, 64, 96], latent_channels=16, attention=[4]),
    "flux2": kl([32, 32, 64, 64], latent_channels=32, decoder_block_out_channels=[32, 64, 32, 64]),
}

WAN = dict(base_dim=32, z_dim=16)

TINY = {"taesd": dict(latent_channels=4), "taef1": dict(latent_channels=16)}


def ldm_names(config, flux2=False):
    """The modules of LDM's AutoencoderKL, in the order in which its constructor makes them."""
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    attention = [i for i, kind in enumerate(config["down_block_types"]) if kind.startswith("Attn")]
    resnet = ["norm1", "conv1", "norm2", "conv2", "nin_shortcut"]
    attn = ["norm", "q", "k", "v", "proj_out"]
    mid = [f"mid.{block}.{layer}" for block, layers_ in
           [("block_1", resnet), ("attn_1", attn), ("block_2", resnet)] for layer in layers_]

    def level(side, i, blocks):
        names = [f"{side}.{i}.block.{j}.{layer}" for j in range(blocks) for layer in resnet]
        if i in attention:
            names += [f"{side}.{i}.attn.{j}.{layer}" for j in range(blocks) for layer in attn]
        return names

    encoder, decoder = ["conv_in"], ["conv_in", *mid]
    for i in range(levels):
        encoder += level("down", i, layers)
        if i != levels - 1:
            encoder.append(f"down.{i}.downsample.conv")
    for i in reversed(range(levels)):
        decoder += level("up", i, layers + 1)
        if i != 0:
            decoder.append(f"up.{i}.upsample.conv")
    encoder += [*mid, "norm_out", "conv_out"]
    decoder += ["norm_out", "conv_out"]
    modules = [f"encoder.{name}" for name in encoder] + [f"decoder.{name}" for name in decoder]
    modules += ["encoder.quant_conv", "decoder.post_quant_conv"] if flux2 else ["quant_conv", "post_quant_conv"]
    return [f"{module}.{kind}" for module in modules for kind in ["weight", "bias"]]


def wan_names():
    """The modules of Wan's WanVAE_ with two residual blocks at each of four levels, in its own order."""
    residual = ["residual.0.gamma", "residual.2.weight", "residual.2.bias", "residual.3.gamma", "residual.6.weight",
                "residual.6.bias", "shortcut.weight", "shortcut.bias"]
    resample = ["resample.1.weight", "resample.1.bias", "time_conv.weight", "time_conv.bias"]
    attention = ["norm.gamma", "to_qkv.weight", "to_qkv.bias", "proj.weight", "proj.bias"]

    def half(name, samples, blocks):
        lists, index = [], 0
        for level in range(4):
            for part in [residual] * blocks + [resample] * (level < 3):
                lists += [f"{name}.{samples}.{index}.{layer}" for layer in part]
                index += 1
        middle = [f"{name}.middle.{i}.{layer}" for i, part in enumerate([residual, attention, residual]) for layer in part]
        ends = [f"{name}.conv1.weight", f"{name}.conv1.bias", f"{name}.head.0.gamma", f"{name}.head.2.weight",
                f"{name}.head.2.bias"]
        return lists + middle + ends

    ends = [f"{conv}.{kind}" for conv in ["conv1", "conv2"] for kind in ["weight", "bias"]]
    return half("encoder", "downsamples", 2) + half("decoder", "upsamples", 3) + ends


def pairs_by(convert, stored, wanted):
    """Which of the names `stored` becomes which tensor of `wanted`, by diffusers' converter `convert`.

    The file that it converts has a different number in each tensor. Some of the names are not in the model: a shortcut
    between equal widths, and what a model has no use for.
    """
    converted = convert({name: torch.full((1, 1, 1, 1), float(i)) for i, name in enumerate(stored)})
    found = {name: stored[int(value.item())] for name, value in converted.items() if name in wanted}
    missing = set(wanted) - set(found)
    assert not missing, sorted(missing)
    assert len(set(found.values())) == len(found)
    return found


def check_whole(convert, shapes, pairs):
    """Converts a whole file, each tensor with a number of its own in it, and compares names, shapes and numbers."""
    number = {name: i for i, name in enumerate(sorted(pairs))}
    file = {stored: torch.full(shape, float(number[name])) for name, (stored, shape) in shapes.items()}
    converted = convert(file)
    for name, wanted in pairs.items():
        assert list(converted[name].shape) == wanted, name
        assert (converted[name] == number[name]).all(), name


def shape_in_ldm(stored, shape):
    """LDM's attentions are convolutions, whose weights have two dimensions more than those of linear layers."""
    is_linear = len(shape) == 2
    return shape + [1, 1] if is_linear else shape


def level_attention(name, levels):
    """The rule for an attention inside a level, which diffusers' converter does not know."""
    half, rest = name.split(".", 1)
    side, i, kind, j, layer = rest.split(".", 4)
    layer = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}[layer.rsplit(".", 1)[0]] \
        + "." + layer.rsplit(".", 1)[1]
    block = i if side == "down" else levels - 1 - int(i)
    return f"{half}.{side}_blocks.{block}.attentions.{j}.{layer}"


def ldm(name, config):
    flux2 = name == "flux2"
    with torch.device("meta"):
        model = (AutoencoderKLFlux2 if flux2 else AutoencoderKL)(**config)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    levels = len(config["block_out_channels"])
    stored = ldm_names(config, flux2)

    def convert(file):
        """FLUX.2's own names first become LDM's; then diffusers converts."""
        if flux2:
            file = {key.replace("encoder.quant", "quant").replace("decoder.post_quant", "post_quant"): value
                    for key, value in file.items()}
        out = convert_ldm_vae_checkpoint(file, config)
        for key, value in file.items():
            if ".attn." in key:
                name = level_attention(key, levels)
                out[name] = value.reshape(value.shape[:2]) if value.dim() == 4 else value
            elif key.startswith("bn."):
                out[key] = value
        return out

    batch_norm = [key for key in shapes if key.startswith("bn.")]
    assert bool(batch_norm) == flux2
    found = pairs_by(convert, stored + batch_norm, shapes)
    in_file = {key: (found[key], shape_in_ldm(found[key], shape)) for key, shape in shapes.items()}
    check_whole(convert, in_file, shapes)
    return rows(shapes, in_file)


def wan():
    with torch.device("meta"):
        model = AutoencoderKLWan(**WAN)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    found = pairs_by(convert_wan_vae_to_diffusers, wan_names(), shapes)
    in_file = {key: (found[key], shape) for key, shape in shapes.items()}
    check_whole(convert_wan_vae_to_diffusers, in_file, shapes)
    return rows(shapes, in_file)


class Block(nn.Module):
    """TAESD's residual block, as its authors wrote it."""

    def __init__(self, channels):
        super().__init__()
        conv = lambda: nn.Conv2d(channels, channels, 3, padding=1)
        self.conv = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())

    def forward(self, x):
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


def taesd(latents):
    """The two networks of TAESD's authors: plain lists of layers."""
    conv = lambda c_in, c_out, **other: nn.Conv2d(c_in, c_out, 3, padding=1, **other)
    down = lambda: [conv(64, 64, stride=2, bias=False), Block(64), Block(64), Block(64)]
    up = lambda: [Block(64), Block(64), Block(64), nn.Upsample(scale_factor=2), conv(64, 64, bias=False)]
    encoder = nn.Sequential(conv(3, 64), Block(64), *down(), *down(), *down(), conv(64, latents))
    decoder = nn.Sequential(Clamp(), conv(latents, 64), nn.ReLU(), *up(), *up(), *up(), Block(64), conv(64, 3))
    return encoder, decoder


def tiny(config):
    """Gives diffusers' model the tensors of the authors' in their order, and compares what the two compute."""
    torch.manual_seed(0)
    encoder, decoder = taesd(config["latent_channels"])
    model = AutoencoderTiny(**config)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    in_file, values = {}, {}
    for half, network in [("encoder", encoder), ("decoder", decoder)]:
        own = [key for key in shapes if key.startswith(half)]
        theirs = network.state_dict()
        assert len(own) == len(theirs)
        for key, (stored, value) in zip(own, theirs.items()):
            assert shapes[key] == list(value.shape), (key, stored)
            in_file[key] = (f"taesd_{half}.{stored}", shapes[key])
            values[key] = value
    model.load_state_dict(values)
    with torch.no_grad():
        x = torch.rand(1, 3, 24, 16)
        latents = encoder(x)
        assert torch.allclose(model.encoder(2 * x - 1), latents, atol=1e-5)
        assert torch.allclose(model.decoder(latents), 2 * decoder(latents) - 1, atol=1e-5)
    return rows(shapes, in_file)


def rows(shapes, in_file):
    return [[name, shape, *in_file[name]] for name, shape in shapes.items()]


def main():
    for package, pinned in VERSIONS.items():
        found = importlib.metadata.version(package).split("+")[0]
        if found != pinned:
            raise SystemExit(f"{package} is {found}, not {pinned}")
    models = {}
    for name, config in KL.items():
        kind = "AutoencoderKLFlux2" if name == "flux2" else "AutoencoderKL"
        models[name] = ({"_class_name": kind} | config, ldm(name, config))
    models["wan"] = ({"_class_name": "AutoencoderKLWan"} | WAN, wan())
    for name, config in TINY.items():
        models[name] = ({"_class_name": "AutoencoderTiny"} | config, tiny(config))
    # One tensor a line: name and shape in diffusers, name and shape in the authors' file.
    parts = []
    for name, (config, tensors) in models.items():
        lines = ",\n".join("    " + json.dumps(row) for row in tensors)
        parts.append(f'  "{name}": {{\n   "config": {json.dumps(config)},\n   "tensors": [\n{lines}\n   ]\n  }}')
        print(f"{name}: {len(tensors)} tensors")
    path = HERE / "single_files.json"
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    assert {name: len(model["tensors"]) for name, model in json.loads(path.read_text()).items()} \
        == {name: len(tensors) for name, (_, tensors) in models.items()}
    print(f"{path.name}  {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
