#!/usr/bin/env python3
"""Writes COUNT different pictures of WIDTH×HEIGHT pixels into FOLDER, as BMP files: 0000.bmp and so on.

    tests/torture/pictures.py FOLDER COUNT WIDTH HEIGHT
"""

import struct
import sys
from pathlib import Path

folder, count, width, height = Path(sys.argv[1]), *map(int, sys.argv[2:])
folder.mkdir(parents=True, exist_ok=True)
padding = bytes(-width * 3 % 4)
for k in range(count):
    row = [bytes((x * (k % 61 + 1) + y * (k % 7 + 1) + c * 40 + k) & 255 for x in range(width) for c in range(3)) for y in range(height)]
    pixels = b"".join(line + padding for line in row)
    header = struct.pack("<2sIII", b"BM", 54 + len(pixels), 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    (folder / f"{k:04}.bmp").write_bytes(header + pixels)
