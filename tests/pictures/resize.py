"""Writes what Pillow's LANCZOS returns into the folder of this file:  python tests/pictures/resize.py

resize.txt        the SHA-256 of 8-bit pictures of many sizes
resize-33x47.f32  a 16-bit picture of 33 x 47 resized to 16 x 20: little-endian f32, [height, width, 3], 0..255

Requires pillow 13.0.0 and numpy. `source` computes the same pictures as in tests/suite/resize.rs.
"""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = [  # from, to
    ((769, 513), (768, 512)),
    ((516, 484), (512, 480)),
    ((300, 200), (256, 192)),
    ((97, 61), (13, 7)),
    ((13, 17), (512, 128)),
    ((512, 3), (13, 3)),
    ((5, 300), (5, 31)),
    ((1, 1), (32, 8)),
    ((1, 200), (64, 1)),
    ((200, 1), (1, 64)),
    ((33, 47), (1, 1)),
    ((64, 64), (65, 63)),
    ((31, 2), (32, 1024)),
    ((1000, 30), (32, 32)),
    ((40, 80), (20, 39)),  # columns first
    ((40, 80), (20, 40)),  # rows first
]


def source(width, height):
    """Returns [height, width, 3]: noise on a third of the values, and the extremes on the others."""
    i = np.arange(width * height * 3, dtype=np.uint64)
    x = (i * np.uint64(0x9E3779B97F4A7C15)) ^ (i >> np.uint64(3))
    x = ((x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(32)
    noise, kind = (x & np.uint64(255)).astype(np.uint8), x >> np.uint64(8) & np.uint64(7)
    values = np.select([kind < 3, kind < 5], [noise, np.uint8(0)], np.uint8(255))
    return values.astype(np.uint8).reshape(height, width, 3)


def resized(picture, size):
    return Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)


def main():
    here = Path(__file__).parent
    lines = ["# from, to, SHA-256 of the bytes; written by resize.py with Pillow 13.0.0"]
    for before, after in SIZES:
        digest = hashlib.sha256(np.asarray(resized(source(*before), after)).tobytes()).hexdigest()
        lines.append(f"{before[0]}x{before[1]} {after[0]}x{after[1]} {digest}")
    (here / "resize.txt").write_text("\n".join(lines) + "\n")

    picture = (source(33, 47).astype(np.float32) * 256 + 77).clip(0, 65535)  # 16 bits per channel
    picture = picture / np.float32(65535) * np.float32(255)
    channels = [np.asarray(resized(picture[:, :, c], (16, 20))) for c in range(3)]  # mode F
    (here / "resize-33x47.f32").write_bytes(np.stack(channels, 2).clip(0, 255).astype("<f4").tobytes())


main()
