"""Compares the speed of the vae binary with PyTorch, ONNX Runtime and OpenVINO on the same weights and input.

    python -m venv V && V/bin/pip install -r benches/peers/requirements.txt
    V/bin/python tests/golden/make.py --checkpoint CHECKPOINT        (or any SD2 VAE in the diffusers layout)
    V/bin/python benches/peers/compare.py CHECKPOINT decode --rounds 5
    V/bin/python benches/peers/compare.py CHECKPOINT decode --own-threads 1
    V/bin/python benches/peers/compare.py CHECKPOINT decode --side 1024 --only onnxruntime --only openvino
    V/bin/python benches/peers/compare.py CHECKPOINT process
    V/bin/python tests/golden/networks.py --checkpoint TAESD
    V/bin/python benches/peers/compare.py TAESD decode --only pytorch

`encode` and `decode`: each peer is a long-running process that loads its model and warms up before the first round. vae is a new
process in each round and processes two files; its own measurement of the second one counts, including the packing of the filters.
`process`: picture → latents → picture, timed from the start to the end of the processes, compared with the same in Python with
diffusers. Each program runs once per round.

Prints the median and range of the seconds, vae's time relative to each peer (median and range of the rounds' ratios), and the
peak resident memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEERS = ["pytorch", "pytorch channels_last", "onnxruntime", "openvino"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("task", choices=["encode", "decode", "process"])
    parser.add_argument("--vae", default="target/release/vae")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--own-threads", type=int, help="threads of vae, if different")
    parser.add_argument("--only", choices=PEERS, action="append", help="only this peer (may be repeated)")
    parser.add_argument("--peer", choices=PEERS, help="run as this peer (internal)")
    return parser.parse_args()


def input_of(task, side):
    shape = (1, 4, side // 8, side // 8) if task == "decode" else (1, 3, side, side)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * 0.5


def is_tiny(args):
    config = json.loads((args.checkpoint / "config.json").read_text())
    return config["_class_name"] == "AutoencoderTiny"


def torch_network(args):
    import torch
    from diffusers import AutoencoderKL, AutoencoderTiny

    torch.set_num_threads(args.threads)
    tiny = is_tiny(args)
    model = (AutoencoderTiny if tiny else AutoencoderKL).from_pretrained(args.checkpoint).eval()

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            if tiny:
                return self.model.decoder(x) if args.task == "decode" else self.model.encoder(x)
            if args.task == "decode":
                return self.model.decoder(self.model.post_quant_conv(x))
            return self.model.quant_conv(self.model.encoder(x))

    return Network().eval()


def runner(args):
    """Returns the function of a peer that is timed."""
    if args.peer.startswith("pytorch"):
        import torch

        layout = torch.channels_last if "channels_last" in args.peer else torch.contiguous_format
        network = torch_network(args).to(memory_format=layout)

        def run(x):
            with torch.inference_mode():
                return network(torch.from_numpy(x).to(memory_format=layout)).numpy()
        return run
    path = Path(tempfile.gettempdir()) / f"vae-peers-{os.getuid()}-{args.task}-{args.side}{'-tiny' * is_tiny(args)}.onnx"
    if not path.exists():
        import torch

        x = torch.from_numpy(input_of(args.task, args.side))
        with torch.no_grad():  # otherwise it keeps every activation
            torch.onnx.export(torch_network(args), (x,), path, dynamo=False, input_names=["x"], output_names=["y"])
    if args.peer == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x})[0]
    import openvino

    settings = {"INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda x: compiled(x)[0]


def serve(args):
    """Runs a peer: for each line on stdin, writes the seconds and the peak memory in MB to stdout."""
    run, x = None, input_of(args.task, args.side)
    for _ in sys.stdin:
        run = run or runner(args)  # at the first request, so that the peers do not all load at once
        start = time.perf_counter()
        run(x)
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, flush=True)


def run_process(command, folder):
    """Runs a process to its end; returns its seconds, its peak memory in MB, and its stdout."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{command[0]} failed"
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6, output


def run_vae(args, folder):
    """Runs the task with the vae binary; returns the seconds that it reports and its peak memory in MB."""
    vae = [Path(args.vae).resolve()]
    common = ["--model", args.checkpoint.resolve(), "--threads", str(args.own_threads), "--json", "-q"]
    if args.task == "process":
        first = run_process([*vae, "encode", "p.png", "-o", "pl.safetensors", *common], folder)
        second = run_process([*vae, "decode", "pl.safetensors", "-o", "o.png", *common], folder)
        return first[0] + second[0], max(first[1], second[1])
    sources = ["p.png", "q.png"] if args.task == "encode" else ["l.safetensors", "m.safetensors"]
    _, peak, output = run_process([*vae, args.task, *sources, "--out-dir", "o", "--overwrite", *common], folder)
    return json.loads(output.splitlines()[-1])["stages"][f"{args.task}_ms"] / 1e3, peak


PYTHON_PROCESS = """
import sys
import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

torch.set_num_threads(int(sys.argv[2]))
vae = AutoencoderKL.from_pretrained(sys.argv[1]).eval()
with torch.inference_mode():
    x = torch.from_numpy(np.array(Image.open("p.png"))).permute(2, 0, 1)[None].float() / 127.5 - 1
    latents = vae.encode(x).latent_dist.sample() * vae.config.scaling_factor
    y = vae.decode(latents / vae.config.scaling_factor).sample
    y = ((y / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0) * 255).round().byte().numpy()
Image.fromarray(y).save("o.png")
"""


def run_python(args, folder):
    command = [sys.executable, "-c", PYTHON_PROCESS, args.checkpoint.resolve(), str(args.threads)]
    return run_process(command, folder)[:2]


def write_inputs(args, folder):
    from PIL import Image
    from safetensors.numpy import save_file

    for name in ["l", "m"]:
        save_file({"latents": input_of("decode", args.side)}, folder / f"{name}.safetensors")
    x = input_of("encode", args.side)[0].transpose(1, 2, 0)
    for name in ["p", "q"]:
        Image.fromarray(((x / 2 + 0.5).clip(0, 1) * 255).round().astype(np.uint8)).save(folder / f"{name}.png")


class Peer:
    """A process that serves one peer."""

    def __init__(self, args, name):
        own = [sys.executable, *sys.argv, "--threads", str(args.threads), "--peer", name]
        self.process = subprocess.Popen(own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return tuple(map(float, self.process.stdout.readline().split()))


def machine():
    """Returns the processor, commit and versions."""
    from importlib.metadata import version

    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in ["torch", "diffusers", "onnxruntime", "openvino"])
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores; commit {commit}; {versions}"


def span(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main():
    args = arguments()
    args.own_threads = args.own_threads or args.threads
    if args.peer:
        return serve(args)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(args, folder)
        if args.task == "process":
            runners = {"python, diffusers": lambda: run_python(args, folder)}
        else:
            runners = {name: Peer(args, name).run for name in args.only or PEERS}
        runners = {"vae": lambda: run_vae(args, folder)} | runners
        times, peaks = {name: [] for name in runners}, {}
        for run in runners.values():
            run()  # warm-up
        for _ in range(args.rounds):
            for name, run in runners.items():
                seconds, peaks[name] = run()
                times[name].append(seconds)
    print(f"{args.task} {args.side}×{args.side}, f32, {args.threads} threads ({args.own_threads} for vae), "
          f"{args.rounds} rounds, load {os.getloadavg()[0]:.1f}, VAE_CPU={os.environ.get('VAE_CPU', '')}")
    print(machine() + "\n")
    print("| | seconds | vae / this | peak MB |\n| --- | --- | --- | --- |")
    for name, values in times.items():
        ratios = [ours / theirs for ours, theirs in zip(times["vae"], values)]
        print(f"| {name} | {span(values)} | {span(ratios, 3)} | {peaks[name]:.0f} |")


if __name__ == "__main__":
    main()
