#!/usr/bin/env python3
"""Writes the seeds of all targets into `seeds/`, and nothing else. Needs Pillow (13.0.0 wrote the committed ones).

    python fuzz/make_seeds.py

What the formats of the inputs are is described in `src/targets`.
"""

import hashlib
import io
import json
import math
import os
import pickle
import shutil
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path

from PIL import Image

SEEDS = Path(__file__).parent / "seeds"
LIMIT = 200_000  # bytes of all seeds


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


# Safetensors.

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "U8": 1}


def numbers(dtype, count):
    values = [math.sin(i) for i in range(count)]
    if dtype == "BF16":
        return b"".join(struct.pack("<f", v)[2:] for v in values)
    if dtype in ("I64", "U8"):
        return bytes(i % 100 for i in range(count * SIZES[dtype]))
    return struct.pack(f"<{count}{ {'F32': 'f', 'F16': 'e', 'F64': 'd'}[dtype] }", *values)


def safetensors(tensors, metadata=None, data=None):
    """`tensors` are triples of name, type and shape."""
    header, body = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape in tensors:
        content = numbers(dtype, math.prod(shape)) if data is None else data
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(body), len(body) + len(content)],
        }
        body += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


OURS = {
    "format_version": "1",
    "model": "owner/name",
    "model_revision": "0123456789abcdef0123456789abcdef01234567",
    "model_sha256": "ab" * 32,
    "scaling_factor": "0.18215",
    "shift_factor": "0",
    "scaled": "true",
    "posterior": "sample",
    "seed": "18446744073709551615",
    "original_size": "516x484",
    "encoded_size": "512x480",
    "note": "a note",
}


def latents():
    one = [("latents", "F32", (1, 4, 2, 3))]
    nan = struct.pack("<4f", 1.0, math.nan, math.inf, -math.inf)
    tensors = [("a", "F32", (1, 2, 2, 2)), ("b", "F32", (1, 2, 2, 2))]
    return {
        "ours": safetensors(one, OURS),
        "mean": safetensors(one, {"format_version": "1", "posterior": "mean", "scaled": "false"}),
        "f16": safetensors([("latents", "F16", (2, 4, 1, 2))], OURS),
        "bf16": safetensors([("z", "BF16", (4, 2, 2))]),
        "f64": safetensors([("latents", "F64", (1, 16, 1, 1))]),
        "other_program": safetensors([("samples", "F32", (1, 4, 2, 2)), ("version", "I64", (1,))]),
        "ambiguous": safetensors(tensors),
        "not_finite": safetensors([("latents", "F32", (1, 1, 2, 2))], data=nan),
        "integers": safetensors([("latents", "I64", (1, 1, 1, 2))]),
        "empty": safetensors([("latents", "F32", (1, 0, 2, 2))]),
        "version_2": safetensors(one, OURS | {"format_version": "2"}),
        "large_size": safetensors(one, OURS | {"original_size": "65535x65535"}),
        "escapes": safetensors(one, {"note": "\x1b[31m\u202e\x00é", "model": "a\nb"}),
        "no_tensors": safetensors([], {}),
    }


# Checkpoints.


def config(channels, **more):
    levels = len(channels)
    return json.dumps(
        {
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "block_out_channels": channels,
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "layers_per_block": 1,
            "norm_num_groups": 1,
            "scaling_factor": 0.18215,
        }
        | more
    ).encode()


def model_tensors(channels, latent, layers, dtype):
    """The tensors of an AutoencoderKL."""
    tensors = []

    def add(name, *shape):
        tensors.append((name + ".weight", dtype, shape))
        tensors.append((name + ".bias", dtype, shape[:1]))

    def conv(name, c_in, c_out, side=3):
        add(name, c_out, c_in, side, side)

    def resnet(name, c_in, c_out):
        add(name + ".norm1", c_in)
        conv(name + ".conv1", c_in, c_out)
        add(name + ".norm2", c_out)
        conv(name + ".conv2", c_out, c_out)
        if c_in != c_out:
            conv(name + ".conv_shortcut", c_in, c_out, 1)

    def mid(name, c):
        resnet(name + ".resnets.0", c, c)
        add(name + ".attentions.0.group_norm", c)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            add(f"{name}.attentions.0.{part}", c, c)
        resnet(name + ".resnets.1", c, c)

    last = len(channels) - 1
    conv("encoder.conv_in", 3, channels[0])
    c_in = channels[0]
    for i, c in enumerate(channels):
        for j in range(layers):
            resnet(f"encoder.down_blocks.{i}.resnets.{j}", c_in, c)
            c_in = c
        if i < last:
            conv(f"encoder.down_blocks.{i}.downsamplers.0.conv", c, c)
    mid("encoder.mid_block", c_in)
    add("encoder.conv_norm_out", c_in)
    conv("encoder.conv_out", c_in, 2 * latent)
    conv("quant_conv", 2 * latent, 2 * latent, 1)
    conv("post_quant_conv", latent, latent, 1)
    conv("decoder.conv_in", latent, c_in)
    mid("decoder.mid_block", c_in)
    for i, c in enumerate(reversed(channels)):
        for j in range(layers + 1):
            resnet(f"decoder.up_blocks.{i}.resnets.{j}", c_in, c)
            c_in = c
        if i < last:
            conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", c, c)
    add("decoder.conv_norm_out", c_in)
    conv("decoder.conv_out", c_in, 3)
    return tensors


def change(tensor, what, number=0):
    return struct.pack("<BBH", tensor, what, number)


def fnv1a(data):
    hash_ = 0xCBF29CE484222325
    for byte in data:
        hash_ = ((hash_ ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    return hash_


def computed(data):
    """Adds changes without effect until the target computes with the model (`COMPUTED` in `checkpoint.rs`)."""
    while (fnv1a(data) >> 32) % 8:
        data += change(0, 15, 0)
    return data


def checkpoints():
    raw = lambda text, weights: b"\0" + text + b"\0" + weights  # noqa: E731
    right = lambda text, *changes: b"\1" + text + b"\0" + b"".join(changes)  # noqa: E731
    small = config([1], latent_channels=1)
    pipeline = json.loads(small) | {"vae": ["diffusers", "AutoencoderKL"], "safety_checker": [None, None]}
    names = safetensors([("encoder.conv_in.weight", "F32", (1, 3, 3, 3)), ("x", "F16", (0,))])
    other = lambda kind, **keys: json.dumps({"_class_name": kind, **keys}).encode()  # noqa: E731
    wan = other("AutoencoderKLWan", base_dim=2, z_dim=1, dim_mult=[1, 2], num_res_blocks=1, latents_mean=[0.5],
                latents_std=[2.0])
    tiny = other("AutoencoderTiny", encoder_block_out_channels=[3, 3], decoder_block_out_channels=[2, 2],
                 num_encoder_blocks=[1, 0], num_decoder_blocks=[0, 1])
    return {
        "wan": computed(right(wan)),
        "tiny": computed(right(tiny)),
        "wan_rank": right(wan, change(2, 2), change(9, 3)),
        "tiny_missing": right(tiny, change(4, 4)),
        "whole_f16": raw(small, safetensors(model_tensors([1], 1, 1, "F16"), {"format": "pt"})),
        "pipeline": raw(json.dumps(pipeline).encode(), names),
        "no_weights": raw(small, b""),
        "no_header": raw(small, struct.pack("<Q", 2) + b"{}"),
        "other_model": raw(b'{"_class_name": "UNet2DConditionModel"}', names),
        "not_json": raw(b"<html>", b"<html>"),
        "built": computed(right(small)),
        "two_levels": computed(right(config([2, 4], norm_num_groups=2))),
        "three_blocks": computed(right(config([16, 40], norm_num_groups=8, layers_per_block=2))),
        "no_attention": computed(
            right(config([3, 3, 3], use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False))
        ),
        "bf16": computed(right(config([8]), change(0, 7, 2))),
        "f64": computed(right(config([8]), change(0, 7, 3))),
        "old_names": computed(right(config([2]), *(change(i, 5) for i in range(256)))),
        "nan": computed(right(config([2]), change(5, 14, 0x7FC0), change(9, 14, 0x7F80))),
        "type": right(config([2]), change(3, 0, 4)),
        "f4": right(config([2]), change(3, 0, 11)),
        "type_only": right(config([2]), change(3, 8, 1)),
        "shape": right(config([2]), change(3, 1, 0x0105)),
        "huge": right(config([2]), change(3, 9, 62)),
        "rank": right(config([2]), change(3, 2), change(8, 3)),
        "missing": right(config([2]), change(30, 4)),
        "offsets": right(config([2]), change(3, 10, 4), change(4, 11, 65532)),
        "overlap": right(config([2]), change(3, 12, 7)),
        "cut": right(config([2]), change(0, 15, 3)),
        "large_config": right(config([8192] * 8, layers_per_block=16)),
    }


# Pictures.


def base(mode, size=(40, 36)):
    image = Image.new("RGBA", size)
    image.putdata(
        [
            (x * 6 % 256, y * 7 % 256, (x * y) % 256, (x + y) * 3 % 256)
            for y in range(size[1])
            for x in range(size[0])
        ]
    )
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def file(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def upright(code):
    exif = Image.Exif()
    exif[0x0112] = code
    return exif


def deep(mode, kind):
    """16-bit grey or float grey."""
    image = Image.new(mode, (12, 10))
    image.putdata([(i * 541 % 65536) / (1 if mode != "F" else 65536) for i in range(120)])
    return file(image, kind)


def pictures():
    grey_alpha = base("RGBA", (16, 12)).convert("LA")
    small, rgb = (16, 12), base("RGB")
    frames = [base("RGB", small).rotate(90 * i).convert("P") for i in range(3)]
    palette = base("RGB", small).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    profile = b"\0\0\0\x84" + b"test" + bytes(0x84 - 8)
    found = {
        "rgb.png": file(rgb, "PNG"),
        "rgba.png": file(base("RGBA", small), "PNG"),
        "grey_alpha.png": file(grey_alpha, "PNG"),
        "bit.png": file(base("1", small), "PNG"),
        "palette.png": file(palette, "PNG", transparency=3),
        "grey16.png": deep("I;16", "PNG"),
        "profile.png": file(base("L", small), "PNG", icc_profile=profile, exif=upright(6)),
        "apng.png": file(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "444.jpg": file(rgb, "JPEG", quality=90, subsampling=0),
        "420.jpg": file(rgb, "JPEG", quality=60, subsampling=2),
        "422.jpg": file(rgb, "JPEG", quality=60, subsampling=1),
        "progressive.jpg": file(rgb, "JPEG", quality=50, progressive=True, optimize=True),
        "grey.jpg": file(base("L", small), "JPEG"),
        "cmyk.jpg": file(base("CMYK", small), "JPEG", quality=50),
        "turned.jpg": file(base("RGB", small), "JPEG", exif=upright(6), icc_profile=profile),
        "restart.jpg": file(rgb, "JPEG", quality=40, restart_marker_blocks=1),
        "lossy.webp": file(rgb, "WEBP", quality=40),
        "lossless.webp": file(base("RGBA", small), "WEBP", lossless=True, exif=upright(3)),
        "alpha.webp": file(base("RGBA", small), "WEBP", quality=30),
        "animated.webp": file(frames[0], "WEBP", save_all=True, append_images=frames[1:], quality=10),
        "animated.gif": file(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "transparent.gif": file(palette, "GIF", transparency=2, interlace=1),
        "rgb.bmp": file(base("RGB", small), "BMP"),
        "palette.bmp": file(palette, "BMP"),
        "bit.bmp": file(base("1", small), "BMP"),
        "rgba.bmp": file(base("RGBA", (6, 5)), "BMP"),
        "rgba.qoi": file(base("RGBA", small), "QOI"),
        "rgb.qoi": file(base("RGB", small), "QOI"),
        "rgb.avif": file(base("RGB", small), "AVIF", quality=20),
        "grey16.tiff": deep("I;16", "TIFF"),
        "float.tiff": deep("F", "TIFF"),
        "palette.tiff": file(palette, "TIFF"),
        "cmyk.tiff": file(base("CMYK", small), "TIFF", compression="tiff_lzw"),
        "big.tiff": file(base("RGB", small), "TIFF", big_tiff=True),
        "rgba.tiff": file(base("RGBA", small), "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tiff": file(base("RGB", (16, 16)), "TIFF", compression="jpeg"),
        "bit.tiff": file(base("1", small), "TIFF", compression="group4"),
        "packbits.tiff": file(base("L", small), "TIFF", compression="packbits", exif=upright(8)),
    }
    found["cut.jpg"] = found["420.jpg"][:-40]
    found["cut.png"] = found["rgb.png"][:-60]
    return found


# Hub.

SMALL = config([1], latent_channels=1)
WEIGHTS = safetensors([("encoder.conv_in.weight", "F16", (1, 3, 3, 3))])
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def answer(status, headers=(), body=b""):
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def about(body, large):
    if large:
        digest = hashlib.sha256(body).hexdigest()
        etag = [f'X-Linked-Etag: "{digest}"', f"X-Linked-Size: {len(body)}"]
    else:
        digest = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        etag = [f'ETag: W/"{digest}"']
    return [*etag, f"X-Repo-Commit: {COMMIT}"]


def hub():
    length = lambda body: f"Content-Length: {len(body)}"  # noqa: E731
    config_head = answer("200 OK", [length(SMALL), *about(SMALL, False)])
    weights_head = answer("200 OK", [length(WEIGHTS), *about(WEIGHTS, True)])
    config_get, weights_get = (answer("200 OK", [length(body)], body) for body in (SMALL, WEIGHTS))
    config_two = [config_head, config_get]
    half = len(WEIGHTS) // 2
    cut = answer("200 OK", [length(WEIGHTS)], WEIGHTS[:half])
    rest = [length(WEIGHTS[half:]), f"Content-Range: bytes {half}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"]
    resumed = answer("206 Partial Content", rest, WEIGHTS[half:])
    empty = ["Content-Length: 0"]
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMALL), SMALL)
    evil = ['ETag: "../../../../evil"', "X-Repo-Commit: ../../evil"]
    moved = lambda to: answer("302 Found", [*empty, f"Location: {to}", *about(WEIGHTS, True)])  # noqa: E731
    pause = answer("429 Too Many Requests", [*empty, "Retry-After: 0"])
    missing = answer("404 Not Found", empty)
    refused = answer("416 Range Not Satisfiable", [*empty, f"Content-Range: bytes */{half}"])
    conversations = {
        "right": [*config_two, weights_head, weights_get],
        "top_folder": [missing, *config_two, weights_head, weights_get],
        "half_precision": [*config_two, missing, weights_head, weights_get],
        "resumed": [*config_two, weights_head, cut, resumed],
        "cut_always": [*config_two, weights_head, *[cut] * 6, weights_head, resumed],
        "range_refused": [*config_two, weights_head, cut, refused, weights_get],
        "busy": [pause, answer("503 Service Unavailable", empty), *config_two, weights_head, pause, weights_get],
        "redirected": [*config_two, moved("http://OTHER/x?y"), moved("http://OTHER/x?y"), weights_get],
        "relative": [
            answer("307 Temporary Redirect", [*empty, "Location: /moved/a"]),
            *config_two,
            moved("//HUB/b"),
            weights_head,
            weights_get,
        ],
        "loop": [answer("301 Moved", [*empty, "Location: x"])] * 24,
        "evil": [answer("200 OK", [length(SMALL), *evil]), answer("200 OK", [length(SMALL), *evil], SMALL)],
        "damaged": [*config_two, weights_head, weights_get.replace(b"F16", b"F32"), weights_head, weights_get],
        "too_long": [*config_two, weights_head, answer("200 OK", [], WEIGHTS * 3)],
        "other_etag": [
            answer("200 OK", ['ETag: "abc-1"', f"X-Repo-Commit: {COMMIT}"]),
            answer("200 OK", ["Transfer-Encoding: chunked"], chunks),
            weights_head,
            weights_get,
        ],
        "refused": [answer("401 Unauthorized", empty)],
        "html": [answer("200 OK", ["Content-Type: text/html"], b"<html>")],
        "not_http": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    }
    return {name: b"%%%%\n".join(answers) for name, answers in conversations.items()}


# Pickles.

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "pickles"


class Storage:
    """Is pickled as a reference to the storage `key` of `count` values."""

    def __init__(self, kind, key, count):
        self.id = ("storage", kind, key, "cpu", count)


class Call:
    """Is pickled as a call of the function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickled(value, protocol=2):
    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return value.id if isinstance(value, Storage) else None

    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


def pretend(module, *names):
    """Puts functions into a module that need not exist, so that they can be pickled. Returns them."""
    parts = module.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: i + 1]), types.ModuleType(parts[i]))
    for name in names:
        function = lambda: None  # noqa: E731
        function.__module__, function.__qualname__, function.__name__ = module, name, name
        setattr(sys.modules[module], name, function)
    return [getattr(sys.modules[module], name) for name in names]


def pickles():
    single, half, brain, whole = pretend("torch", "FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage")
    rebuild, parameter = pretend("torch._utils", "_rebuild_tensor_v2", "_rebuild_parameter")
    (callback,) = pretend("trainer.callbacks", "Checkpoint")

    def tensor(kind, key, count, shape, strides, offset=0):
        return Call(rebuild, Storage(kind, key, count), offset, shape, strides, False, OrderedDict())

    state = OrderedDict(
        a=tensor(single, "0", 16, (2, 3), (3, 1)),
        b=tensor(half, "1", 32, (4, 2), (1, 4), 8),
        c=Call(parameter, tensor(brain, "2", 32, (), (), 31), True, OrderedDict()),
        d=tensor(whole, "0", 8, (0, 5), (5, 1)),
    )
    training = {"epoch": 2**40, "callbacks": [Call(callback), {1: {2.5, None}}, b"x"], "state_dict": state}
    recursive = {"model": {}}
    recursive["model"]["model"] = recursive
    shared = [state]
    for _ in range(8):
        shared = [shared, shared]
    wrong = lambda *arguments: pickled({"a": tensor(*arguments)})  # noqa: E731
    found = {f"protocol_{p}": pickled(training, p) for p in range(1, 6)}  # protocol 0 writes addresses
    found |= {
        "state": pickled(state),
        "only": pickled({"first": {"model": {"x": state}}}),
        "system": pickled({"state_dict": state, "z": Call(os.system, "echo")}),
        "recursive": pickled(recursive),
        "shared": pickled({"z": shared, "state_dict": state}),
        "beyond": wrong(single, "0", 16, (4, 4), (4, 1), 1),
        "other_size": wrong(single, "0", 17, (4, 4), (4, 1)),
        "no_storage": wrong(single, "9", 16, (4, 4), (4, 1)),
        "negative": wrong(single, "0", 16, (4, 4), (4, -1), -1),
        "overflow": wrong(single, "0", 16, (2**62, 4), (2**62, 1)),
        "expanded": wrong(single, "0", 16, (16, 16), (0, 0)),
        "long_text": b"\x80\x02X\xff\xff\xff\xff" + b"a" * 20,
        "text": b"(dS'a'\nI7\nscos\nsystem\n(Vecho\ntRp1\ng1\n0.",
    }
    files = {name: (GOLDEN / f"{name}.pt").read_bytes() for name in ("legacy", "training_legacy", "zip", "protocol_4")}
    files["big_endian"] = files["legacy"].replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    files["not_torch"] = found["system"]
    files["cut"] = files["legacy"][:-100]
    return {name: b"\1" + data for name, data in found.items()} | {f"file_{n}": b"\0" + d for n, d in files.items()}


def main():
    shutil.rmtree(SEEDS, ignore_errors=True)
    all_latents, all_checkpoints, all_pictures = latents(), checkpoints(), pictures()
    # With options: see `arguments` in inspect.rs.
    inspected = {f"latents_{n}": b"\0" + d for n, d in all_latents.items()}
    inspected |= {f"json_{n}": b"\1" + all_latents[n] for n in ("ours", "not_finite", "escapes", "ambiguous")}
    inspected |= {f"plates_{n}": b"\2" + all_latents[n] for n in ("ours", "not_finite", "ambiguous")}
    pictures_of_inspect = ("rgb.bmp", "profile.png", "turned.jpg", "float.tiff", "rgb.avif", "cut.png")
    inspected |= {f"picture_{n}": b"\0" + all_pictures[n] for n in pictures_of_inspect}
    inspected |= {f"json_{n}": b"\1" + all_pictures[n] for n in ("alpha.webp", "transparent.gif", "rgba.qoi")}
    inspected |= {f"model_{n}": b"\4" + all_checkpoints[n] for n in ("whole_f16", "pipeline", "not_json", "shape")}
    all_pickles = pickles()
    inspected |= {f"pickle_{n}": b"\0" + all_pickles[f"file_{n}"][1:] for n in ("not_torch", "training_legacy", "zip")}
    inspected |= {f"json_pickle_{n}": b"\1" + all_pickles[f"file_{n}"][1:] for n in ("not_torch", "training_legacy")}
    inspected |= {f"json_model_{n}": b"\5" + all_checkpoints[n] for n in ("built", "pipeline")}
    targets = {
        "latents": all_latents,
        "checkpoint": all_checkpoints,
        "pickle": all_pickles,
        "picture": all_pictures,
        "inspect": inspected,
        "hub": hub(),
    }
    total = 0
    for target, seeds in targets.items():
        for name, data in seeds.items():
            write(target, name, data)
        size = sum(map(len, seeds.values()))
        total += size
        print(f"{target}: {len(seeds)} seeds, {size} bytes, the largest {max(map(len, seeds.values()))}")
    assert total < LIMIT, f"{total} bytes are more than {LIMIT}"


if __name__ == "__main__":
    main()
