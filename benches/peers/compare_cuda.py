"""Compares the speed of vae and PyTorch on the same CUDA device with the same weights in f16.

    python -m venv V && V/bin/pip install -r benches/peers/requirements.txt
    V/bin/python tests/golden/make.py --checkpoint CHECKPOINT        (or any SD2 VAE in the diffusers layout)
    V/bin/python benches/peers/compare_cuda.py CHECKPOINT
    V/bin/python benches/peers/compare_cuda.py CHECKPOINT --sides 1024 --batches 1 --rounds 5 --bench PATH

vae is `benches/cuda.rs`, run by cargo or, with --bench, already built at PATH. It is a new process in each round, and uses the
CUDA libraries that were installed with torch if the system has none. PyTorch is the module below, whose names match the
checkpoint: channels last, f16, cuDNN's benchmark mode, once eager and once with torch.compile. Each program measures once per
round: the median of at least 5 runs and at least 2 seconds, after a warm-up.

Prints for each case the median and range of the rounds: `ms`, from f32 on the host to f32 on the host, the time that a caller
waits; `device ms`, the network alone, from device memory to device memory; vae's time relative to each peer (the median of the
rounds' ratios); pictures per second, from `ms`; the peak device memory, with the weights of both encoder and decoder for PyTorch,
and of only one of them for vae. PyTorch processes a batch at once, vae one picture at a time.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

CARGO = ["cargo", "bench", "--quiet", "--locked", "--features", "cuda", "--bench", "cuda", "--"]
RUNS, SECONDS = 5, 2.0  # as in benches/cuda.rs
TASKS = ["encode", "decode"]


class Resnet(nn.Module):
    def __init__(self, groups, c_in, c_out):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, c_out, eps=1e-6)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, groups, channels):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x):  # [n, c, h, w]
        h = self.group_norm(x).flatten(2).transpose(1, 2)  # [n, h·w, c]
        q, k, v = (to(h)[:, None] for to in (self.to_q, self.to_k, self.to_v))  # one head
        h = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + h.transpose(1, 2).reshape(x.shape)


class Mid(nn.Module):
    def __init__(self, groups, channels):
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(groups, channels, channels) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(groups, channels)])

    def forward(self, x):
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Down(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Block(nn.Module):
    """Residual blocks, then a resampler to half or twice the resolution (except in the last block)."""

    def __init__(self, groups, c_in, c_out, layers, resampler, kind):
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(groups, c_out if j else c_in, c_out) for j in range(layers))
        if resampler:
            setattr(self, f"{kind}samplers", nn.ModuleList([resampler(c_out)]))

    def forward(self, x):
        for part in self.children():
            for layer in part:
                x = layer(x)
        return x


def blocks(config, channels, layers, resampler, kind):
    pairs = zip([channels[0], *channels], channels)
    return nn.ModuleList(
        Block(config["norm_num_groups"], c_in, c_out, layers, resampler if i + 1 < len(channels) else None, kind)
        for i, (c_in, c_out) in enumerate(pairs))


class Coder(nn.Module):
    """The first and last layers of the encoder and of the decoder."""

    def __init__(self, config, c_in, first, last, c_out):
        super().__init__()
        self.conv_in = nn.Conv2d(c_in, first, 3, padding=1)
        self.conv_norm_out = nn.GroupNorm(config["norm_num_groups"], last, eps=1e-6)
        self.conv_out = nn.Conv2d(last, c_out, 3, padding=1)

    def end(self, h):
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class Encoder(Coder):
    def __init__(self, config):
        channels, latents = config["block_out_channels"], config["latent_channels"]
        super().__init__(config, config["in_channels"], channels[0], channels[-1], 2 * latents)
        self.down_blocks = blocks(config, channels, config["layers_per_block"], Down, "down")
        self.mid_block = Mid(config["norm_num_groups"], channels[-1])

    def forward(self, x):
        h = self.conv_in(x)
        for block in self.down_blocks:
            h = block(h)
        return self.end(self.mid_block(h))


class Decoder(Coder):
    def __init__(self, config):
        channels, latents = config["block_out_channels"][::-1], config["latent_channels"]
        super().__init__(config, latents, channels[0], channels[-1], config["out_channels"])
        self.mid_block = Mid(config["norm_num_groups"], channels[0])
        self.up_blocks = blocks(config, channels, config["layers_per_block"] + 1, Up, "up")

    def forward(self, z):
        h = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            h = block(h)
        return self.end(h)


class Autoencoder(nn.Module):
    """An AutoencoderKL with the structure of SD2's; its names match the checkpoint's."""

    def __init__(self, config):
        super().__init__()
        latents = config["latent_channels"]
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1)
        self.post_quant_conv = nn.Conv2d(latents, latents, 1)

    def encode(self, x):
        """Pixels → moments."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z):
        """Unscaled latents → pixels."""
        return self.decoder(self.post_quant_conv(z))


OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load(checkpoint):
    """Returns the module in f32 and its config."""
    config = json.loads((checkpoint / "config.json").read_text())
    with torch.device("meta"):
        model = Autoencoder(config)
    state = load_file(checkpoint / "diffusion_pytorch_model.safetensors")
    for name in [name for name in state if ".attentions." in name]:
        tensor = state.pop(name).float()
        for older, newer in OLDER.items():
            name = name.replace(f".{older}.", f".{newer}.")
        state[name] = tensor if "group_norm" in name or tensor.dim() == 1 else tensor.flatten(1)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model.eval(), config


def input_of(config, task, side, batch):
    small = side // 2 ** (len(config["block_out_channels"]) - 1)
    noise = torch.Generator().manual_seed(0)
    if task == "encode":
        return torch.randn(batch, config["in_channels"], side, side, generator=noise) * 0.5
    return torch.randn(batch, config["latent_channels"], small, small, generator=noise) / config["scaling_factor"]


def milliseconds(run):
    """Returns the median time of a call, after a warm-up."""
    times, runs, start = [], 0, time.perf_counter()
    while runs < 2 or time.perf_counter() - start < SECONDS / 4:
        run()
        runs += 1
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    while len(times) < RUNS or time.perf_counter() - start < SECONDS:
        torch.cuda.synchronize()
        before = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e3


@torch.inference_mode()
def run_torch(network, x, device):
    """Measures PyTorch with the fields of the bench's output; returns None if the device runs out of memory."""
    def put():
        return x.to(device).to(torch.float16, memory_format=torch.channels_last)

    try:
        whole = milliseconds(lambda: network(put()).to(torch.float32, memory_format=torch.contiguous_format).cpu())
        peak = torch.cuda.max_memory_allocated()
        there = put()
        return {"ms": whole, "device_ms": milliseconds(lambda: network(there)), "peak_bytes": peak}
    except torch.cuda.OutOfMemoryError:
        return None
    finally:
        there = None
        torch.cuda.empty_cache()


def run_vae(args, side, batch):
    """Runs the bench; returns its result for each task."""
    command = [args.bench.resolve()] if args.bench else CARGO
    command = [*command, "--json", "--no-error", "--model", args.checkpoint.resolve(),
               "--device", str(args.device), "--sides", str(side), "--batches", str(batch)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment()).stdout
    rows = [json.loads(line) for line in output.splitlines()]
    if not rows:
        raise SystemExit("vae found no CUDA device")
    return {row["task"]: row for row in rows if "task" in row}


def environment():
    """Returns the environment, with torch's CUDA libraries after the system's in the search path."""
    spec = importlib.util.find_spec("nvidia")
    found = [str(lib) for root in (spec.submodule_search_locations if spec else [])
             for lib in sorted(Path(root).glob("*/lib"))]
    own = [folder for folder in [os.environ.get("LD_LIBRARY_PATH")] if folder]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(own + found)}


def versions(args):
    """Returns the device, driver, libraries and commit."""
    def said(*command):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        return "unknown"

    driver = said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()[0]
    return (f"{torch.cuda.get_device_name(args.device)}, driver {driver}; torch {torch.__version__} with CUDA "
            f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}; commit {said('git', 'rev-parse', '--short', 'HEAD')}")


def span(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def print_case(task, side, batch, rounds):
    """Prints the rows of a case; each of `rounds` maps vae and its peers to their measurements."""
    for name in rounds[0]:
        rows = [(one["vae"], one[name]) for one in rounds if one[name]]
        if len(rows) < len(rounds):
            print(f"| {task} | {side} | {batch} | {name} | out of memory |")
            continue
        cells = []
        for key in ["ms", "device_ms"]:
            cells.append(span([theirs[key] for _, theirs in rows]))
            cells.append(f"{statistics.median(ours[key] / theirs[key] for ours, theirs in rows):.3f}")
        speed = batch * 1e3 / statistics.median(theirs["ms"] for _, theirs in rows)
        peaks = [theirs["peak_bytes"] for _, theirs in rows if theirs["peak_bytes"] is not None]
        peak = f"{max(peaks) / 1e6:.0f}" if peaks else "–"
        print(f"| {task} | {side} | {batch} | {name} | {' | '.join(cells)} | {speed:.1f} | {peak} |", flush=True)


def numbers(text):
    return [int(number) for number in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--sides", type=numbers, default=[512, 1024, 2048])
    parser.add_argument("--batches", type=numbers, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", type=int, default=0, help="N of cuda:N")
    parser.add_argument("--bench", type=Path, help="the built program of benches/cuda.rs")
    return parser.parse_args()


def main():
    args = arguments()
    if not torch.cuda.is_available():
        raise SystemExit("torch found no CUDA device")
    device = torch.device("cuda", args.device)
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = True
    model, config = load(args.checkpoint)
    model = model.to(device, torch.float16, memory_format=torch.channels_last)
    print(versions(args))
    print(f"f16, {args.rounds} rounds\n")
    print("| | side | batch | | ms | vae / this | device ms | vae / this | pictures/s | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for side in args.sides:
        for batch in args.batches:
            torch.compiler.reset()
            networks = {task: {"pytorch, eager": getattr(model, task),
                               "pytorch, compiled": torch.compile(getattr(model, task), dynamic=False)} for task in TASKS}
            inputs = {task: input_of(config, task, side, batch) for task in TASKS}
            rounds = {task: [] for task in TASKS}
            for _ in range(args.rounds):
                ours = run_vae(args, side, batch)
                for task in TASKS:
                    peers = {name: run_torch(network, inputs[task], device) for name, network in networks[task].items()}
                    rounds[task].append({"vae": ours[task]} | peers)
            for task in TASKS:
                print_case(task, side, batch, rounds[task])


if __name__ == "__main__":
    main()
