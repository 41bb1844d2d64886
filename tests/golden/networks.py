"""Writes the golden data of networks that are not an AutoencoderKL into networks/:  python tests/golden/networks.py

Requires the packages of make.py.

taesd.safetensors   AutoencoderTiny as taesd has it, 4 latent channels, a picture with odd sides
taesd3.safetensors  AutoencoderTiny as taesd3 and taef1 have it, 16 latent channels
qwen.safetensors    AutoencoderKLQwenImage with a quarter of the channels, one picture
wan.safetensors     AutoencoderKLWan with another decoder than encoder, one picture with odd sides

    python tests/golden/networks.py --checkpoint DIR
writes the AutoencoderTiny of taesd with formula weights into DIR, for benchmarks.

Each file has the tensors of all stages, and in its metadata the config; the statistics of each block: name, shape, mean, standard
deviation, minimum and maximum; the shapes of the weights; and the modules with their classes. All weights are computed from names and shapes by formulas.py.
"""

import sys

sys.dont_write_bytecode = True

import json

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderKLWan, AutoencoderTiny
from diffusers.image_processor import VaeImageProcessor

from formulas import formula_weights, picture
from make import VERSIONS, check_versions, save


def create(kind, config):
    """Returns the diffusers model of `config` with formula weights, and its whole config."""
    model = kind(**config).eval()
    for name, tensor in model.state_dict().items():
        tensor.copy_(torch.from_numpy(formula_weights(name, tuple(tensor.shape))))
    return model, json.dumps({key: value for key, value in model.config.items() if key != "_diffusers_version"}
                             | {"_class_name": kind.__name__})


def observe(blocks):
    """Adds the statistics of each module's output to the returned list, in the order in which they run."""
    seen, hooks = [], []

    def see(name, y):
        x = y.double()
        x = x[:, :, 0] if x.ndim == 5 else x
        numbers = [x.mean(), x.std(correction=0), x.min(), x.max()]
        seen.append([name, list(x.shape)] + [float(number) for number in numbers])

    for name, block in blocks:
        hooks.append(block.register_forward_hook(lambda _module, _x, y, name=name: see(name, y)))
    return seen, hooks


def to_u8(dec):
    pil = VaeImageProcessor().postprocess(dec, output_type="pil")
    return np.asarray(pil[0])


def write(name, config, model, seen, tensors):
    names = [name for name in ["encoder", "quant_conv", "post_quant_conv", "decoder"] if hasattr(model, name)]
    modules = [[".".join(filter(None, [name, path])), repr(module).splitlines()[0],
                sum(p.numel() for p in module.parameters())]
               for name in names for path, module in getattr(model, name).named_modules()
               if any(True for _ in module.parameters())]
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors = {key: value.float().numpy() if torch.is_tensor(value) else value for key, value in tensors.items()}
    save(f"networks/{name}", tensors, config=config, blocks=json.dumps(seen),
         modules=json.dumps(modules), shapes=json.dumps(shapes), torch=VERSIONS["torch"],
         diffusers=VERSIONS["diffusers"])


def make_tiny(name, config, x):
    """The encoder's result is the latents; z is what the first convolution of the decoder reads."""
    model, config = create(AutoencoderTiny, config)
    x = torch.from_numpy(x)
    z = []
    model.decoder.layers[0].register_forward_pre_hook(lambda _module, inputs: z.append(inputs[0]))
    layers = [(f"{half}.layers.{i}", layer) for half in ["encoder", "decoder"]
              for i, layer in enumerate(getattr(model, half).layers)]
    seen, hooks = observe(layers)
    h = model.encode(x).latents
    latents = 2.0 * h  # large enough for the tanh to matter
    dec = model.decode(latents).sample
    for hook in hooks:
        hook.remove()
    model = model.double()
    write(name, config, model, seen, {
        "x": x, "h": h, "latents": latents, "z": z[0], "dec": dec, "picture_u8": to_u8(dec),
        "h_f64": model.encode(x.double()).latents, "dec_f64": model.decode(latents.double()).sample,
    })
    print(f"  latents: rms {float(latents.square().mean().sqrt()):.3f}; dec outside [-1, 1]: "
          f"{float((dec.abs() > 1).float().mean()):.2%}")


def make_wan(name, kind, config, x):
    """One frame through the models of videos: [n, c, h, w] here, [n, c, 1, h, w] in diffusers."""
    model, config = create(kind, config)
    x = torch.from_numpy(x)
    hs, zs = [], []
    model.quant_conv.register_forward_pre_hook(lambda _module, inputs: hs.append(inputs[0]))
    model.post_quant_conv.register_forward_hook(lambda _module, _x, y: zs.append(y))
    blocks = []
    for half in ["encoder", "decoder"]:
        part = getattr(model, half)
        blocks += [(f"{half}.conv_in", part.conv_in), (f"{half}.mid_block", part.mid_block)]
        key = "down_blocks" if half == "encoder" else "up_blocks"
        blocks += [(f"{half}.{key}.{i}", block) for i, block in enumerate(getattr(part, key))]
    seen, hooks = observe(blocks)
    posterior = model.encode(x[:, :, None]).latent_dist
    mean = torch.tensor(model.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(model.config.latents_std).view(1, -1, 1, 1, 1)
    latents = (posterior.mode() - mean) / std
    dec = model.decode(latents * std + mean).sample
    for hook in hooks:
        hook.remove()
    h, z = hs[0], zs[0]
    model = model.double()
    moments_f64 = model.encode(x.double()[:, :, None]).latent_dist.parameters
    dec_f64 = model.decode((latents * std + mean).double()).sample
    tensors = {"h": h, "moments": posterior.parameters, "mean": posterior.mean, "latents": latents, "z": z,
               "dec": dec, "moments_f64": moments_f64, "dec_f64": dec_f64}
    tensors = {key: value[:, :, 0] for key, value in tensors.items()}
    write(name, config, model, seen, {"x": x, "picture_u8": to_u8(tensors["dec"])} | tensors)
    print(f"  dec clamped: {float((dec.abs() == 1).float().mean()):.2%}")


def main():
    check_versions()
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    if sys.argv[1:2] == ["--checkpoint"]:
        return create(AutoencoderTiny, dict())[0].save_pretrained(sys.argv[2])
    make_tiny("taesd", dict(), picture(37, 50, 1))
    make_tiny("taesd3", dict(latent_channels=16), picture(24, 48, 1))
    make_wan("qwen", AutoencoderKLQwenImage, dict(base_dim=24), picture(40, 64, 1))
    make_wan("wan", AutoencoderKLWan,
             dict(base_dim=16, decoder_base_dim=12, z_dim=4, dim_mult=[1, 2, 3], num_res_blocks=1,
                  temperal_downsample=[False, True], latents_mean=[0.5, -0.25, 0.0, 1.0],
                  latents_std=[2.0, 1.5, 0.5, 1.0], scale_factor_spatial=4),
             picture(30, 43, 1))


if __name__ == "__main__":
    main()
