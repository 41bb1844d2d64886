"""Exports the weights of the latest training state as a model folder in f16.

    python export.py --work /tmp/tiny_vae --out ../../assets/tiny

It may run during training. The scaling factor is 1 over the standard deviation of the
sampled latents of the held-out drawn pictures.
"""

import argparse
import json
import os

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from train import as_batch, build, held_out_psnr


@torch.no_grad()
def latent_spread(vae, pictures, seed):
    """Returns the standard deviation of sampled latents, and the mean posterior standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    samples, deviations = [], []
    for x in as_batch(pictures).split(1):
        posterior = vae.encode(x).latent_dist
        samples.append(posterior.sample(generator).flatten())
        deviations.append(posterior.std.flatten())
    return torch.cat(samples).std().item(), torch.cat(deviations).mean().item()


def write(vae, folder, spread):
    os.makedirs(folder, exist_ok=True)
    vae.register_to_config(scaling_factor=round(1 / spread, 5))
    config = {k: v for k, v in vae.config.items() if not k.startswith("_")}
    config = {"_class_name": "AutoencoderKL", "_diffusers_version": diffusers.__version__, **config}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
    weights = {k: v.detach().half().contiguous() for k, v in vae.state_dict().items()}
    if not all(torch.isfinite(w).all() for w in weights.values()):
        raise SystemExit("some weights are not finite in f16")
    path = os.path.join(folder, "diffusion_pytorch_model.safetensors")
    save_file(weights, path, metadata={"format": "pt"})
    largest = max(w.abs().max().item() for w in weights.values())
    print(f"largest weight {largest:.3f}, file {os.path.getsize(path)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True, help="the folder given to train.py")
    parser.add_argument("--out", required=True, help="folder for config.json and the weights")
    parser.add_argument("--weights", choices=("average", "model"), default="average",
                        help="the running average or the latest weights")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(1)
    pictures = np.load(os.path.join(args.work, "held_out.npy"))
    state = torch.load(os.path.join(args.work, "state.pt"), weights_only=True)
    vae = build()
    vae.load_state_dict(state[args.weights])
    spread, deviation = latent_spread(vae, pictures, args.seed)
    print(f"{args.weights} at step {state['steps']}, {state['spent'] / 60:.1f} min, {state['cpu'] / 60:.1f} CPU minutes")
    print(f"standard deviation of sampled latents {spread:.4f}, mean posterior standard deviation {deviation:.4f}")
    write(vae, args.out, spread)
    before = held_out_psnr(vae, pictures)
    rounded = AutoencoderKL.from_pretrained(args.out, torch_dtype=torch.float32)
    print(f"held-out PSNR {before:.3f} dB with f32 weights, {held_out_psnr(rounded, pictures):.3f} dB with f16 weights")


if __name__ == "__main__":
    main()
