"""Trains the tiny AutoencoderKL on pictures that pictures.py draws.

    python train.py --work /tmp/tiny_vae --minutes 82

Starts a run or resumes an interrupted one; `--work` holds the drawn pictures, the state
and the log. The learning rate falls with the elapsed time instead of the steps, so the
model converges even on a slow or shared machine. export.py writes the model.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import time

import diffusers
import numpy as np
import PIL
import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import AutoencoderKL

from pictures import Painter

CHANNELS = (16, 24, 48, 96)
GROUPS = 8
HELD_OUT = 16  # pictures for validation, with their own seed


# --- pictures --------------------------------------------------------------


def draw_part(job):
    seed, count = job
    painter = Painter(seed)
    return np.stack([painter.draw() for _ in range(count)])


def drawn(path, seed, count):
    """Loads the array of pictures from `path`, and draws it first if the file is missing."""
    if not os.path.exists(path):
        part = 50
        jobs = [(seed * 100_000 + i, min(part, count - i)) for i in range(0, count, part)]
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pictures = np.concatenate(pool.map(draw_part, jobs, chunksize=1))
        np.save(path + ".part.npy", pictures)
        os.replace(path + ".part.npy", path)
    return np.load(path)


def crops(rng, pictures, count, side):
    """Returns random crops in -1..1: flipped, rotated, recoloured, and some enlarged."""
    out = np.empty((count, side, side, 3), np.uint8)
    height = pictures.shape[1]
    for i in range(count):
        # One crop in four is enlarged, to include soft edges and slow gradients.
        zoom = 2 if rng.random() < 0.25 else 1
        small = side // zoom
        y, x = rng.integers(height - small + 1, size=2)
        crop = pictures[rng.integers(len(pictures)), y : y + small, x : x + small]
        if zoom > 1:
            crop = np.asarray(PIL.Image.fromarray(crop).resize((side, side), PIL.Image.BICUBIC))
        crop = np.rot90(crop, rng.integers(4))
        out[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
    batch = torch.from_numpy(out).permute(0, 3, 1, 2).float() / 127.5 - 1
    # Recolours half of the crops: permutes and mixes channels, changes the saturation, adds a
    # colour cast, and inverts some.
    for i in np.flatnonzero(rng.random(count) < 0.5):
        mix = np.eye(3)[rng.permutation(3)] + rng.normal(0, 0.1, (3, 3))
        mix = mix / np.abs(mix).sum(1, keepdims=True) * rng.choice([-1, 1])
        colourful = np.exp(rng.uniform(np.log(0.5), np.log(3)))
        mix = (colourful * np.eye(3) + (1 - colourful) / 3) @ mix
        cast = rng.normal(0, 0.25, (3, 1, 1)) * (rng.random() < 0.6)
        batch[i] = torch.einsum("oc,chw->ohw", torch.from_numpy(mix).float(), batch[i]) + torch.from_numpy(cast).float()
    return batch.clamp_(-1, 1).contiguous(memory_format=torch.channels_last)


# --- model -----------------------------------------------------------------


def build():
    blocks = len(CHANNELS)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=GROUPS,
        sample_size=256,
        mid_block_add_attention=True,
    )


class Step(torch.nn.Module):
    """Encodes a batch, samples the posterior, decodes it and returns the loss terms."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, x, noise):
        moments = self.vae.quant_conv(self.vae.encoder(x))
        mean, logvar = moments.chunk(2, 1)
        logvar = logvar.clamp(-30, 20)
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        z = mean + noise * (0.5 * logvar).exp()
        y = self.vae.decoder(self.vae.post_quant_conv(z))
        fault = y - x
        each = (fault**2).mean((1, 2, 3))
        # The mean PSNR averages logarithms, so an error in a smooth crop counts more than one in a detailed crop.
        mse, log_mse = each.mean(), 0.012 * ((each + 0.004) / 0.012).log().mean()
        # L1 at the full size and three halvings, so that large shapes count as well as edges.
        l1 = fault.abs().mean()
        for _ in range(3):
            fault = F.avg_pool2d(fault, 2)
            l1 = l1 + fault.abs().mean()
        # Squared error at 1/8 of the size: the mean colour of each region.
        coarse = (fault**2).mean()
        # A guide for the early phase: three latents follow the brightness and the two colour
        # differences of their region, so that all colours are encoded from the start.
        red, green, blue = F.avg_pool2d(x, 8).unbind(1)
        region = torch.stack([(red + green + blue) / 1.5, 2 * (red - blue), 2 * green - red - blue], 1)
        guide = (mean[:, :3] - region).pow(2).mean()
        return mse, log_mse, l1 / 4 + 3 * coarse, kl, guide


def orthogonal(g):
    """Approximates the nearest orthogonal matrix to `g` by five Newton-Schulz steps."""
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


class Optimizer:
    """Orthogonalised momentum (as in Muon) for inner weights; Adam for outer weights and vectors."""

    def __init__(self, model):
        outer = ("conv_in", "conv_out", "quant_conv")
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        inner = [p for n, p in named if p.ndim >= 2 and not any(o in n for o in outer)]
        ids = {id(p) for p in inner}
        self.inner = [(p, torch.zeros_like(p)) for p in inner]
        self.adam = torch.optim.Adam([p for _, p in named if id(p) not in ids], lr=1e-3, betas=(0.9, 0.99))

    @torch.no_grad()
    def step(self, lr, lr_inner):
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        for p, momentum in self.inner:
            momentum.mul_(0.95).add_(p.grad)
            g = (p.grad + 0.95 * momentum).flatten(1)
            shape = max(1.0, g.shape[0] / g.shape[1]) ** 0.5
            p.add_(orthogonal(g).view_as(p), alpha=-lr_inner * shape)

    def state_dict(self):
        return {"adam": self.adam.state_dict(), "momenta": [m for _, m in self.inner]}

    def load_state_dict(self, state):
        self.adam.load_state_dict(state["adam"])
        for (_, m), saved in zip(self.inner, state["momenta"]):
            m.copy_(saved)


# --- evaluation ------------------------------------------------------------


def as_batch(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def held_out_psnr(vae, pictures):
    """Returns the mean PSNR of whole pictures, decoded from the posterior mean."""
    total = 0.0
    for x in as_batch(pictures).split(1):
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        total += -10 * math.log10(((y - x) / 2).pow(2).mean().item() + 1e-10)
    return total / len(pictures)


# --- training --------------------------------------------------------------


def schedule(part):
    """Returns the learning rate factor, the weights of the multi-scale and guide terms, and the crops' side and count.

    `part` is the progress of the run, from 0 to 1.
    """
    rate = min(1.0, (1 - part) / 0.6)
    scales = 0.3 * min(1.0, max(0.05, (1 - part) / 0.4))
    guide = 0.5 * min(1.0, max(0.0, (0.8 - part) / 0.4))
    # Larger crops at the end adapt the group norms and the attention to the statistics of larger pictures.
    side, count = (64, 8) if part < 0.35 else (96, 4) if part < 0.65 else (128, 4) if part < 0.88 else (256, 2)
    return rate, scales, guide, side, count


def train(worker, args):
    """Runs one of `args.workers` processes; each computes a share of every batch."""
    torch.set_num_threads(1)
    store = "file://" + os.path.join(args.work, "meeting")
    dist.init_process_group("gloo", init_method=store, rank=worker, world_size=args.workers)
    chief = worker == 0
    log_file = open(os.path.join(args.work, "train.log"), "a", buffering=1) if chief else None

    def log(text):
        if chief:
            print(text, flush=True)
            log_file.write(text + "\n")

    pictures = np.load(os.path.join(args.work, "pictures.npy"), mmap_mode="r")
    held_out = np.load(os.path.join(args.work, "held_out.npy"))
    torch.manual_seed(args.seed)
    vae = build().to(memory_format=torch.channels_last)
    average = build().requires_grad_(False)
    average.load_state_dict(vae.state_dict())
    optimizer = Optimizer(vae)
    parameters = list(vae.parameters())
    steps, spent, cpu = 0, 0.0, 0.0
    log(f"python {platform.python_version()}, torch {torch.__version__}, diffusers {diffusers.__version__}, "
        f"numpy {np.__version__}, pillow {PIL.__version__}")
    log("arguments " + json.dumps({k: v for k, v in vars(args).items() if k not in ("work", "start")}))
    log(f"channels {CHANNELS}, groups {GROUPS}, parameters {sum(p.numel() for p in parameters)}, "
        f"pictures {pictures.shape}")
    state_path = os.path.join(args.work, "state.pt")
    source = state_path if os.path.exists(state_path) else args.start
    if source:
        state = torch.load(source, weights_only=True)
        vae.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        steps = state["steps"]
        if source == state_path:
            spent, cpu = state["spent"], state["cpu"]
        log(f"resuming at step {steps}" + ("" if source == state_path else " of an earlier run"))
    rng = np.random.default_rng([args.seed, worker, steps])
    torch.manual_seed(args.seed + 1_000_003 * worker + steps)
    step = Step(vae)
    began, cpu_began = time.time() - spent, time.process_time() - cpu / args.workers
    next_log, sums, first, last_measure = time.time() + 60, np.zeros(4), steps, spent

    def save():
        state = {"model": vae.state_dict(), "average": average.state_dict(),
                 "optimizer": optimizer.state_dict(), "steps": steps,
                 "spent": time.time() - began, "cpu": cpu}
        torch.save(state, state_path + ".part")
        os.replace(state_path + ".part", state_path)

    while True:
        # All workers follow the clock of the first one.
        clock = torch.tensor([(time.time() - began) / (60 * args.minutes)])
        dist.broadcast(clock, 0)
        part = clock.item()
        if part >= 1:
            break
        rate, scales_weight, guide_weight, side, count = schedule(part)
        rate *= min(1.0, (steps + 1) / 100)
        count //= args.workers
        x = crops(rng, pictures, count, side)
        mse, log_mse, scales, kl, guide = step(x, torch.randn(count, 4, side // 8, side // 8))
        loss = log_mse + scales_weight * scales + args.kl * kl + guide_weight * guide
        vae.zero_grad()
        loss.backward()
        used = torch.tensor([mse.item(), scales.item(), kl.item(), guide.item(), time.process_time() - cpu_began])
        joined = torch.cat([p.grad.flatten() for p in parameters] + [used])
        dist.all_reduce(joined)
        cpu = joined[-1].item()
        sums += joined[-5:-1].numpy() / args.workers
        at = 0
        for p in parameters:
            p.grad.copy_(joined[at : at + p.numel()].view_as(p) / args.workers)
            at += p.numel()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            optimizer.step(args.rate * rate, args.rate_inner * rate)
        steps += 1
        keep = min(0.99, steps / (steps + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - keep)
        if chief and time.time() >= next_log:
            mse, scales, kl, guide = sums / (steps - first)
            spent = time.time() - began
            text = (f"{spent / 60:6.1f} min  step {steps:6d}  rate {rate:.3f}  side {side}  "
                    f"psnr {10 * math.log10(4 / mse):.2f}  scales {scales:.4f}  kl {kl:.3f}  guide {guide:.3f}  "
                    f"cores {cpu / spent:.2f}")
            if spent - last_measure > 600:
                last_measure = spent
                text += f"  held-out {held_out_psnr(average, held_out):.2f}"
            log(text)
            save()
            next_log, sums, first = time.time() + 60, np.zeros(4), steps
    if chief:
        save()
        log(f"done after {steps} steps, held-out {held_out_psnr(average, held_out):.2f} dB")
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True, help="folder for the pictures, the state and the log")
    parser.add_argument("--minutes", type=float, default=82, help="duration of the whole run in wall-clock time")
    parser.add_argument("--pictures", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of Adam")
    parser.add_argument("--rate-inner", type=float, default=0.012, help="learning rate of the orthogonalised part")
    parser.add_argument("--kl", type=float, default=1e-4, help="weight of the KL term")
    parser.add_argument("--start", metavar="STATE", help="start from the state.pt of an earlier run, at its step")
    parser.add_argument("--workers", type=int, default=2, help="processes, with one thread each")
    args = parser.parse_args()

    args.work = os.path.abspath(args.work)
    os.makedirs(args.work, exist_ok=True)
    drawn(os.path.join(args.work, "held_out.npy"), args.seed + 1000, HELD_OUT)
    drawn(os.path.join(args.work, "pictures.npy"), args.seed, args.pictures)
    meeting = os.path.join(args.work, "meeting")
    if os.path.exists(meeting):
        os.remove(meeting)
    torch.multiprocessing.spawn(train, (args,), nprocs=args.workers)


if __name__ == "__main__":
    main()
