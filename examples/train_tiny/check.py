"""Measures the tiny model on photographs outside of its training data, and prints markdown tables.

    python check.py --model ../../assets/tiny

The photographs come with scikit-image. The baseline is a trivial codec, which shrinks the
picture by a factor of eight (Pillow's Lanczos) and enlarges it again (bicubic).
"""

import argparse

import numpy as np
import skimage.data
import torch
from diffusers import AutoencoderKL
from PIL import Image

PHOTOGRAPHS = ["astronaut", "coffee", "chelsea", "rocket"]
LEVELS = [0.1, 0.28, 0.46, 0.5, 0.64, 0.82, 1.0]


def photograph(name):
    """Returns the picture, resized to the next smaller multiples of 32."""
    picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    width, height = picture.size
    return picture.resize((width - width % 32, height - height % 32), Image.LANCZOS)


def psnr(a, b):
    mse = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return 10 * np.log10(255**2 / mse)


def trivial(picture):
    width, height = picture.size
    small = picture.resize((width // 8, height // 8), Image.LANCZOS)
    return small.resize((width, height), Image.BICUBIC)


@torch.no_grad()
def encode(vae, picture):
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return vae.encode(x.to(vae.dtype)).latent_dist.mean


@torch.no_grad()
def decode(vae, latents):
    y = vae.decode(latents.to(vae.dtype)).sample[0].float()
    return np.rint(((y + 1) * 127.5).clamp(0, 255).permute(1, 2, 0).numpy()).astype(np.uint8)


def flops(vae, width=768, height=512):
    """Returns the GFLOP to encode and to decode one picture."""
    from torch.utils.flop_counter import FlopCounterMode

    vae = AutoencoderKL.from_config(vae.config).to("meta")
    counts = []
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        latents = vae.encode(torch.empty(1, 3, height, width, device="meta")).latent_dist.mean
        counts.append(counter.get_total_flops() / 1e9)
        vae.decode(latents)
        counts.append(counter.get_total_flops() / 1e9 - counts[0])
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder with config.json and the weights")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", metavar="PREFIX", help="write each picture side by side with its reconstruction")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    vae = AutoencoderKL.from_pretrained(args.model, torch_dtype=torch.float32).eval()

    parameters = sum(p.numel() for p in vae.parameters())
    encoding, decoding = flops(vae)
    print(f"{parameters} parameters; 768x512: encode {encoding:.1f} + decode {decoding:.1f} GFLOP; "
          f"scaling_factor {vae.config.scaling_factor}\n")
    print("| photograph | size | trivial, dB | model, dB | gain, dB |")
    print("|---|---|---|---|---|")
    pictures, latents, rows = {}, {}, []
    for name in PHOTOGRAPHS:
        picture = pictures[name] = photograph(name)
        latents[name] = encode(vae, picture)
        restored = decode(vae, latents[name])
        rows.append((psnr(picture, trivial(picture)), psnr(picture, restored)))
        print(f"| {name} | {picture.width}x{picture.height} | {rows[-1][0]:.2f} | {rows[-1][1]:.2f} "
              f"| {rows[-1][1] - rows[-1][0]:+.2f} |")
        if args.save:
            pair = np.concatenate([np.asarray(picture), restored], 1)
            Image.fromarray(pair).save(f"{args.save}{name}.png")
    base, ours = np.mean(rows, 0)
    print(f"| average | | {base:.2f} | {ours:.2f} | {ours - base:+.2f} |")

    scale = vae.config.scaling_factor
    scaled = torch.cat([z.flatten() for z in latents.values()]) * scale
    print(f"\nscaled latents of the photographs: mean {scaled.mean():.3f}, standard deviation {scaled.std():.3f}\n")

    print("| noise level | " + " | ".join(PHOTOGRAPHS) + " | average drop, dB |")
    print("|---|" + "---|" * (len(PHOTOGRAPHS) + 1))
    print("| none | " + " | ".join(f"{ours:.2f}" for _, ours in rows) + " | |")
    for level in LEVELS:
        line = []
        for name in PHOTOGRAPHS:
            z = latents[name]
            noise = torch.rand(z.shape, generator=torch.Generator().manual_seed(0)) - 0.5
            line.append(psnr(pictures[name], decode(vae, z + noise * z.abs().mean() * level)))
        drop = ours - np.mean(line)
        print(f"| {level} | " + " | ".join(f"{v:.2f}" for v in line) + f" | {drop:.2f} |")


if __name__ == "__main__":
    main()
