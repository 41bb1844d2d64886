"""Writes jpegs.safetensors into the folder of this file:  python tests/golden/jpegs.py

Requires exactly these packages: numpy 2.4.6, pillow 13.0.0 (its wheel has libjpeg-turbo), safetensors 0.8.0

For each small JPEG file NAME, it contains the file's bytes as `NAME.jpg` [n] and what Pillow's
`Image.open(file).convert("RGB")` makes of them as `NAME.rgb` [height, width, 3].

Files called `photo_` are written by Pillow from a smooth picture. Files called `noise_` are written by the encoder below
from random coefficients; it knows sampling factors and colour spaces that Pillow does not write. Files called `damaged_`
are photos with damaged scans, which Pillow reads without an error.
"""

import sys

sys.dont_write_bytecode = True

import importlib.metadata
import io
from pathlib import Path

import numpy as np
from PIL import Image, features
from safetensors.numpy import save_file

VERSIONS = {"numpy": "2.4.6", "pillow": "13.0.0", "safetensors": "0.8.0"}


def huffman(symbols):
    """The number of codes of each length, and the symbols: each symbol's code is itself, in 8 bits."""
    return bytes([0] * 7 + [symbols] + [0] * 8) + bytes(range(symbols))



def segment(marker, payload):
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


class Bits:
    """A stream of bits with the byte stuffing of JPEG."""

    def __init__(self):
        self.text = []

    def put(self, value, length):
        if length:
            self.text.append(f"{value:0{length}b}")

    def number(self, run, value):
        """A symbol, which is the run of zeros and the length of the value, and then the value's bits."""
        length = int(abs(value)).bit_length()
        self.put(run << 4 | length, 8)
        self.put(value if value >= 0 else value + (1 << length) - 1, length)

    def take(self):
        text = "".join(self.text)
        text += "1" * (-len(text) % 8)
        self.text = []
        data = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        return data.replace(b"\xff", b"\xff\0")


def noise(seed, size, factors, *, app=b"", ids=None, restart=0, interleaved=True):
    """A baseline JPEG file of `size` with random coefficients. `factors`: the sampling factors (h, v) of each component."""
    random = np.random.default_rng(seed)
    width, height = size
    ids = ids or list(range(1, len(factors) + 1))
    hmax, vmax = max(h for h, _ in factors), max(v for _, v in factors)
    across, down = -(-width // (8 * hmax)), -(-height // (8 * vmax))  # MCUs

    blocks = []
    for h, v in factors:
        coefficients = np.zeros((down * v, across * h, 64), int)
        coefficients[..., 0] = random.integers(-60, 60, coefficients.shape[:2])
        for position in range(1, 64):
            some, most = random.random(coefficients.shape[:2]) < 2 / (1 + position), 400 // (9 + position)
            coefficients[..., position] = some * random.integers(-most, most + 1, some.shape)
        blocks.append(coefficients)

    def scan(components):
        bits, out, before, count = Bits(), b"", [0] * len(factors), 0
        if len(components) == 1:  # not interleaved: only the blocks that the picture covers
            h, v = factors[components[0]]
            columns, rows = -(-(-(-width * h // hmax)) // 8), -(-(-(-height * v // vmax)) // 8)
            units = [[(components[0], y, x)] for y in range(rows) for x in range(columns)]
        else:
            units = [
                [
                    (c, my * factors[c][1] + y, mx * factors[c][0] + x)
                    for c in components
                    for y in range(factors[c][1])
                    for x in range(factors[c][0])
                ]
                for my in range(down)
                for mx in range(across)
            ]
        for unit in units:
            if restart and count and count % restart == 0:
                out += bits.take() + bytes([0xFF, 0xD0 + (count // restart - 1) % 8])
                before = [0] * len(factors)
            count += 1
            for c, y, x in unit:
                block = blocks[c][y, x]
                bits.number(0, int(block[0]) - before[c])
                before[c] = int(block[0])
                run = 0
                for value in block[1:]:
                    if value == 0:
                        run += 1
                        continue
                    while run > 15:
                        bits.put(0xF0, 8)
                        run -= 16
                    bits.number(run, int(value))
                    run = 0
                if run:
                    bits.put(0, 8)
        header = bytes([len(components)]) + b"".join(bytes([ids[c], 0]) for c in components) + bytes([0, 63, 0])
        return segment(0xDA, header) + out + bits.take()

    frame = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(factors)])
    frame += b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in zip(ids, factors))
    everything = list(range(len(factors)))
    return (
        b"\xff\xd8"
        + app
        + segment(0xDB, bytes([0]) + bytes(min(4 + i, 40) for i in range(64)))
        + segment(0xC0, frame)
        + segment(0xC4, b"\x00" + huffman(16))
        + segment(0xC4, b"\x10" + huffman(255))
        + (segment(0xDD, restart.to_bytes(2, "big")) if restart else b"")
        + b"".join(map(scan, [everything] if interleaved else [[c] for c in everything]))
        + b"\xff\xd9"
    )


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def photo(size, mode="RGB", **options):
    """A JPEG file of a smooth picture with an edge, written by Pillow."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / 16
    planes = [np.sin(x * (1 + 0.3 * c) + y * (0.7 - 0.2 * c)) * 100 + 128 + 27 * ((x + y) % 2 < 1) for c in range(len(mode))]
    array = np.stack(planes, -1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if mode == "L" else array, mode).save(file, "JPEG", **options)
    return file.getvalue()


def files():
    sampling = {
        "444": [(1, 1)] * 3, "422": [(2, 1), (1, 1), (1, 1)], "420": [(2, 2), (1, 1), (1, 1)], "440": [(1, 2), (1, 1), (1, 1)],
        "411": [(4, 1), (1, 1), (1, 1)], "441": [(1, 4), (1, 1), (1, 1)], "410": [(4, 2), (1, 1), (1, 1)],
    }  # fmt: skip
    seed = 0
    for name, factors in sampling.items():
        for size in [(1, 1), (2, 3), (8, 8), (9, 7), (16, 16), (17, 33), (35, 18)]:
            seed += 1
            yield f"noise_{name}_{size[0]}x{size[1]}", noise(seed, size, factors, app=JFIF)
    unusual = {
        "chroma_2x2": [(1, 1), (2, 2), (2, 2)], "chroma_differs": [(2, 2), (1, 2), (2, 1)], "all_2x2": [(2, 2)] * 3,
        "thirds": [(3, 1), (1, 1), (1, 1)], "luma_4x1_chroma_2x1": [(4, 1), (2, 1), (2, 1)], "chroma_1x2": [(2, 2), (1, 2), (1, 2)],
        "chroma_2x1": [(2, 2), (2, 1), (2, 1)],
    }  # fmt: skip
    for number, (name, factors) in enumerate(unusual.items()):
        small = sum(h * v for h, v in factors) <= 10  # blocks in an MCU
        yield f"noise_{name}", noise(100 + number, (19, 21), factors, app=JFIF, interleaved=small)
    yield "noise_grey", noise(200, (13, 11), [(1, 1)])
    yield "noise_grey_2x2", noise(201, (13, 11), [(2, 2)])
    yield "noise_restarts", noise(202, (50, 20), sampling["420"], restart=1)
    yield "noise_scans", noise(203, (19, 21), sampling["420"], interleaved=False)
    yield "noise_scans_restarts", noise(204, (19, 21), sampling["422"], interleaved=False, restart=2)
    yield "noise_no_app", noise(205, (9, 9), sampling["444"])
    yield "noise_rgb_adobe", noise(206, (9, 9), sampling["444"], app=adobe(0))
    yield "noise_rgb_ids", noise(207, (9, 9), sampling["444"], ids=[82, 71, 66])
    yield "noise_rgb_adobe_420", noise(208, (19, 21), sampling["420"], app=adobe(0))
    yield "noise_ycc_adobe", noise(209, (9, 9), sampling["444"], app=adobe(1))
    yield "noise_strange_ids", noise(210, (9, 9), sampling["444"], ids=[7, 0, 200])
    yield "noise_cmyk", noise(211, (9, 9), [(1, 1)] * 4)
    yield "noise_cmyk_adobe", noise(212, (9, 9), [(1, 1)] * 4, app=adobe(0))
    yield "noise_ycck", noise(213, (9, 9), [(1, 1)] * 4, app=adobe(2))
    yield "noise_ycck_420", noise(214, (19, 21), [(2, 2), (1, 1), (1, 1), (2, 2)], app=adobe(2))
    yield "noise_ycck_jfif", noise(215, (9, 9), [(1, 1)] * 4, app=JFIF + adobe(2))

    for quality in [20, 75, 95]:
        for subsampling in ["4:4:4", "4:2:2", "4:2:0"]:
            name = f"photo_{subsampling.replace(':', '')}_q{quality}"
            yield name, photo((43, 29), quality=quality, subsampling=subsampling)
    for size in [(1, 1), (17, 33), (43, 29)]:
        for subsampling in ["4:4:4", "4:2:2", "4:2:0"]:
            name = f"photo_progressive_{subsampling.replace(':', '')}_{size[0]}x{size[1]}"
            yield name, photo(size, progressive=True, subsampling=subsampling)
    yield "photo_grey", photo((43, 29), "L")
    yield "photo_grey_progressive", photo((43, 29), "L", progressive=True)
    yield "photo_cmyk", photo((43, 29), "CMYK")
    yield "photo_cmyk_progressive", photo((43, 29), "CMYK", progressive=True)
    yield "photo_restarts", photo((43, 29), restart_marker_blocks=1)
    yield "photo_progressive_restarts", photo((43, 29), progressive=True, restart_marker_rows=1)

    damaged = {"baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 2}}
    for name, options in damaged.items():
        whole = photo((75, 51), **options)
        middle = (whole.index(b"\xff\xda") + len(whole)) // 2
        yield f"damaged_{name}_cut", whole[:middle] + b"\xff\xd9"
        yield f"damaged_{name}_zeros", whole[:middle] + bytes(6) + whole[middle + 6 :]


def main():
    found = {name: importlib.metadata.version(name) for name in VERSIONS}
    assert found == VERSIONS, f"needs {VERSIONS}, found {found}"
    assert features.check("libjpeg_turbo"), "Pillow is built without libjpeg-turbo"
    tensors = {}
    for name, data in files():
        tensors[f"{name}.jpg"] = np.frombuffer(data, np.uint8)
        tensors[f"{name}.rgb"] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    metadata = {"pillow": VERSIONS["pillow"], "libjpeg-turbo": features.version("libjpeg_turbo")}
    save_file(tensors, Path(__file__).resolve().parent / "jpegs.safetensors", metadata)
    print(f"{len(tensors) // 2} JPEG files, {metadata}")


if __name__ == "__main__":
    main()
