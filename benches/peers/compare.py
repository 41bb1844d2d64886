"""Times the vae binary beside PyTorch, ONNX Runtime and OpenVINO, in alternation, on the same weights and input.

    python -m venv V && V/bin/pip install -r benches/peers/requirements.txt
    V/bin/python tests/golden/make.py --checkpoint CHECKPOINT        (or any SD2 VAE in the diffusers layout)
    V/bin/python benches/peers/compare.py CHECKPOINT decode --rounds 3

Each peer is a process that stays: its model is loaded and warmed up before the first round. vae starts anew each time,
and the time that it says it took to encode or decode (packing its filters included) counts. In each round every one runs once. Printed: the
median and the smallest time of each, the ratio of vae's median to each median, and the peak of resident memory.
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
    parser.add_argument("task", choices=["encode", "decode"])
    parser.add_argument("--vae", default="target/release/vae")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer", choices=PEERS, help="be this peer (used by the program itself)")
    return parser.parse_args()


def input_of(task, side):
    shape = (1, 4, side // 8, side // 8) if task == "decode" else (1, 3, side, side)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * 0.5


def torch_network(args):
    import torch
    from diffusers import AutoencoderKL

    torch.set_num_threads(args.threads)
    model = AutoencoderKL.from_pretrained(args.checkpoint).eval()

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            if args.task == "decode":
                return self.model.decoder(self.model.post_quant_conv(x))
            return self.model.quant_conv(self.model.encoder(x))

    return Network().eval()


def runner(args):
    """The function that a peer is timed by."""
    if args.peer.startswith("pytorch"):
        import torch

        layout = torch.channels_last if "channels_last" in args.peer else torch.contiguous_format
        network = torch_network(args).to(memory_format=layout)

        def run(x):
            with torch.inference_mode():
                return network(torch.from_numpy(x).to(memory_format=layout)).numpy()
        return run
    path = Path(tempfile.gettempdir()) / f"vae-peers-{os.getuid()}-{args.task}-{args.side}.onnx"
    if not path.exists():
        import torch

        x = torch.from_numpy(input_of(args.task, args.side))
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
    """A peer: a line on stdin is a request, a line on stdout its seconds and the peak of memory in MB."""
    run, x = runner(args), input_of(args.task, args.side)
    for _ in sys.stdin:
        start = time.perf_counter()
        run(x)
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, flush=True)


def run_vae(args, folder):
    """The same work by the vae binary: its own seconds, and the peak of memory in MB."""
    source, target = ("p.png", "o.safetensors") if args.task == "encode" else ("l.safetensors", "o.png")
    command = [Path(args.vae).resolve(), args.task, source, "-o", target, "--json", "-q",
               "--model", args.checkpoint.resolve()]
    environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE)
    record = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, "vae failed"
    return record["stages"][f"{args.task}_ms"] / 1e3, usage.ru_maxrss * 1024 / 1e6


def write_inputs(args, folder):
    from PIL import Image
    from safetensors.numpy import save_file

    x = input_of(args.task, args.side)
    if args.task == "decode":
        save_file({"latents": x}, folder / "l.safetensors")
    else:
        levels = ((x[0].transpose(1, 2, 0) / 2 + 0.5).clip(0, 1) * 255).round().astype(np.uint8)
        Image.fromarray(levels).save(folder / "p.png")


def main():
    args = arguments()
    if args.peer:
        return serve(args)
    own = [sys.executable, *sys.argv, "--threads", str(args.threads)]
    peers = {name: subprocess.Popen([*own, "--peer", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
             for name in PEERS}

    def ask(name):
        peers[name].stdin.write("\n")
        peers[name].stdin.flush()
        return tuple(map(float, peers[name].stdout.readline().split()))

    times = {name: [] for name in ["vae", *PEERS]}
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(args, Path(folder))
        for name in PEERS:
            ask(name)  # warm-up
        for _ in range(args.rounds):
            for name in times:
                seconds, peaks[name] = run_vae(args, folder) if name == "vae" else ask(name)
                times[name].append(seconds)
    for peer in peers.values():
        peer.stdin.close()
    ours = statistics.median(times["vae"])
    print(f"{args.task} {args.side}x{args.side}, {args.threads} threads, {args.rounds} rounds, "
          f"load {os.getloadavg()[0]:.1f}")
    print("| | median s | least s | vae's median to this | peak MB |\n| --- | --- | --- | --- | --- |")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {min(values):.2f} | {ours / median:.3f} | {peaks[name]:.0f} |")


if __name__ == "__main__":
    main()
