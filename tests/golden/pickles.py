"""Writes the checkpoints in `pickles` beside this file:  python tests/golden/pickles.py

Requires exactly these packages: torch 2.15.0, safetensors 0.8.0

Each `NAME.pt` is written by `torch.save`. `twin.safetensors` has the values that torch reads from all of them, contiguous.
"""

import sys

sys.dont_write_bytecode = True

import importlib.metadata
import types
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

VERSIONS = {"torch": "2.15.0", "safetensors": "0.8.0"}
FOLDER = Path(__file__).parent / "pickles"


class Weights(torch.nn.Module):
    """Has a state dict with `_metadata`, which torch pickles as the attribute of an OrderedDict."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 1, bias=False)
        self.conv.weight.data = values(3, 2, 1, 1)
        base = values(5, 7)
        for name, tensor in {
            "f16": values(4).half(),
            "bf16": values(3).bfloat16(),
            "f64": values(2, 2).double(),
            "i64": torch.tensor(7),
            "bool": torch.tensor([True, False, True]),
            "scalar": values(1)[0].clone(),
            "empty": torch.zeros(0, 3),
            "whole": base,
            "transposed": base.t(),
            "part": base[1:4, 2:5],
            "rows": base[2:4],
            "every_second": base[::2, 1::3],
            "channels_last": values(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "expanded": values(3, 1).expand(3, 4),
            "one_wide": values(4, 1).t(),
        }.items():
            self.register_buffer(name, tensor)


def values(*shape):
    count = torch.Size(shape).numel()
    return torch.linspace(-2, 3, count).sin().reshape(shape)


def callback():
    """An object of a class that readers do not have, as training frameworks put beside the state dict."""
    module = types.ModuleType("trainer.callbacks")
    sys.modules["trainer"], sys.modules["trainer.callbacks"] = types.ModuleType("trainer"), module
    module.Checkpoint = type("Checkpoint", (), {"__module__": "trainer.callbacks", "__qualname__": "Checkpoint"})
    instance = module.Checkpoint()
    instance.best, instance.scores = 0.5, [1, 2.5, {"a": None}]
    return instance


def main():
    for package, version in VERSIONS.items():
        found = importlib.metadata.version(package).split("+")[0]
        if found != version:
            sys.exit(f"needs {package} {version}, and found {found}")
    FOLDER.mkdir(exist_ok=True)
    state = Weights().state_dict()
    parameters = OrderedDict((name, torch.nn.Parameter(t, t.is_floating_point())) for name, t in state.items())
    training = {
        "epoch": 3,
        "callbacks": {"checkpoint": callback()},
        "lr_schedulers": [{"base": 1e-4}, (1, "two", b"three")],
        "optimizer_states": [{"state": {0: {"step": torch.tensor(5.0)}}}],
        "state_dict": state,
    }
    save = lambda name, value, **options: torch.save(value, FOLDER / f"{name}.pt", **options)  # noqa: E731
    save("zip", state)
    save("legacy", state, _use_new_zipfile_serialization=False)
    save("protocol_4", {"model": parameters}, pickle_protocol=4)
    save("training", training)
    save("training_legacy", training, _use_new_zipfile_serialization=False)
    save_file({name: t.contiguous().clone() for name, t in state.items()}, FOLDER / "twin.safetensors")


if __name__ == "__main__":
    main()
