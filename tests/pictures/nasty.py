"""Makes unusual picture files and compares how they are read with Pillow.

    cargo build --example read_picture
    python tests/pictures/nasty.py FOLDER        writes the files, and prints a table in Markdown
    python tests/pictures/nasty.py --golden      writes nasty/ next to this file: small files, and Pillow's pixels

Requires pillow 13.0.0 and numpy. "Pillow" means exif_transpose, alpha composited onto white, then RGB.
"""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent.parent / "target" / "debug" / "examples" / "read_picture"


def noise(height, width, channels, seed=1):
    """Smooth shapes with noise, so that lossy formats keep something to compare."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(x / 3 + c) * np.cos(y / 4 - c) for c in range(channels)]
    return np.clip(np.stack(waves, 2) + rng.normal(0, 12, (height, width, channels)), 0, 255).astype(np.uint8)


W, H = 23, 17
RGB = Image.fromarray(noise(H, W, 3))
GREY = Image.fromarray(noise(H, W, 1)[:, :, 0])
RGBA = Image.fromarray(noise(H, W, 4))
EXIF = {n: b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, n, 0, 0) for n in range(1, 10)}


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data, wrong_crc=False):
    crc = zlib.crc32(kind + data) ^ (1 if wrong_crc else 0)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width, height, bits, color, rows, *chunks, after=b"", end=True, interlace=0, wrong_crc=False):
    """A PNG of rows that are packed already; `chunks` come before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)), wrong_crc)
    end = chunk(b"IEND", b"") if end else b""
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + after + end


def rgb_png(*chunks, **options):
    return png(W, H, 8, 2, [bytes(row.tobytes()) for row in np.asarray(RGB)], *chunks, **options)


def packed(values, bits):
    """Packs rows of small numbers."""
    values = np.asarray(values, np.uint8)
    planes = [(values >> (bits - 1 - b)) & 1 for b in range(bits)]
    return [row.tobytes() for row in np.packbits(np.stack(planes, 2).reshape(len(values), -1), axis=1)]


def small_numbers(bits):
    return noise(H, W, 1, 5)[:, :, 0] >> (8 - bits)


def interlaced(image):
    """Adam7 of an RGB picture."""
    values, rows = np.asarray(image), []
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    for x, y, dx, dy in passes:
        part = values[y::dy, x::dx]
        rows += [row.tobytes() for row in part] if part.size else []
    return png(image.width, image.height, 8, 2, rows, interlace=1)


def tiff(tags, data, order="<", big=False):
    """A TIFF of one strip. `tags` are (number, type, values); 273 and 279, the strip, are added."""
    formats = {3: "H", 4: "I", 7: "B", 11: "f", 16: "Q"}
    start = 16 if big else 8
    tags = tags + [(273, 4, [start]), (279, 4, [len(data)])]
    place = start + len(data) + len(data) % 2
    body, extra, entries = data + b"\0" * (len(data) % 2), b"", b""
    size = {False: 4, True: 8}[big]
    entry, count = ("HHQ", "Q") if big else ("HHI", "H")
    directory = place
    length = struct.calcsize(order + count) + len(tags) * (struct.calcsize(order + entry) + size) + size
    for number, kind, values in sorted(tags):
        value = struct.pack(order + formats[kind] * len(values), *values)
        if len(value) > size:
            offset = directory + length + len(extra)
            extra += value + b"\0" * (len(value) % 2)
            value = struct.pack(order + ("Q" if big else "I"), offset)
        entries += struct.pack(order + entry, number, kind, len(values)) + value.ljust(size, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(order + "HHHQ", 43, 8, 0, directory) if big else struct.pack(order + "HI", 42, directory))
    return head + body + struct.pack(order + count, len(tags)) + entries + b"\0" * size + extra


def tiff_tags(bits, meaning, samples=1, *more):
    return [(256, 3, [W]), (257, 3, [H]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [meaning]),
            (277, 3, [samples]), (278, 3, [H])] + list(more)


def palette(bits):
    return (320, 3, list(np.random.default_rng(7).integers(0, 65536, 3 << bits)))


def gif_with_screen():
    """A GIF whose frame is smaller than its screen."""
    whole = bytearray(saved(GREY.resize((8, 6)), "GIF"))
    whole[6:10] = struct.pack("<HH", 16, 12)
    return bytes(whole)


def srgb_curve():
    x = np.arange(1024) / 1023
    y = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *np.rint(y * 65535).astype(int))


def profile_bytes(primaries, gamma=None, grey=False, white=(0.3127, 0.3290)):
    """An ICC profile of version 2 with a gamma curve or that of sRGB, adapted to D50 by Bradford."""
    m = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    to_xyz = lambda x, y: np.array([x / y, 1, (1 - x - y) / y])
    m = m * np.linalg.solve(m, to_xyz(*white))
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    scale = np.diag(bradford @ d50 / (bradford @ to_xyz(*white)))
    m = np.linalg.inv(bradford) @ scale @ bradford @ m
    s15 = lambda v: struct.pack(">i", round(v * 65536))
    xyz = lambda v: b"XYZ \0\0\0\0" + b"".join(s15(c) for c in v)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) if gamma else srgb_curve()
    tags = {b"desc": DESCRIPTION, b"wtpt": xyz(d50), b"cprt": b"text\0\0\0\0none\0"}
    if grey:
        tags |= {b"kTRC": curve}
    else:
        tags |= {kind: xyz(m[:, i]) for i, kind in enumerate([b"rXYZ", b"gXYZ", b"bXYZ"])}
        tags |= {kind: curve for kind in [b"rTRC", b"gTRC", b"bTRC"]}
    return assembled(tags, b"GRAY" if grey else b"RGB ", b"XYZ ")


def lut_profile():
    """An ICC profile of version 2 with a table of 2 x 2 x 2 colours in Lab."""
    levels = [(r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    lab = [(100 * (r * 0.3 + g * 0.5 + b * 0.2), 20 * (r - g), 15 * (r + g - 2 * b)) for r, g, b in levels]
    clut = [v for l, a, b in lab for v in (round(l * 652.8), round((a + 128) * 256), round((b + 128) * 256))]
    ramp = [0, 65535] * 3
    identity = [65536 * (i % 4 == 0) for i in range(9)]
    table = b"mft2\0\0\0\0" + struct.pack(">4B9i2H", 3, 3, 2, 0, *identity, 2, 2)
    table += struct.pack(">36H", *ramp, *clut, *ramp)
    tags = {b"desc": DESCRIPTION, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
            b"cprt": b"text\0\0\0\0none\0", b"A2B0": table}
    return assembled(tags, b"RGB ", b"Lab ")


DESCRIPTION = b"desc\0\0\0\0" + struct.pack(">I", 10) + b"a profile\0" + b"\0" * 78


def assembled(tags, colors, connection):
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for kind, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += kind + struct.pack(">II", start + len(data), len(content))
        data += content
    size = start + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02100000, b"mntr", colors, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061) + b"\0" * 48
    return head + struct.pack(">I", len(tags)) + table + data


P3_PRIMARIES = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
SRGB_PRIMARIES = [(0.640, 0.330), (0.300, 0.600), (0.150, 0.060)]
P3 = profile_bytes(P3_PRIMARIES, 2.2)
ADOBE = profile_bytes([(0.640, 0.330), (0.210, 0.710), (0.150, 0.060)], 2.19921875)
GREY_GAMMA = profile_bytes(SRGB_PRIMARIES, 1.8, grey=True)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# The profiles that mean the same as chunks of PNG, which Pillow does not read.
INSTEAD = {"gamma.png": profile_bytes(SRGB_PRIMARIES, 1.8), "cicp-p3.png": profile_bytes(P3_PRIMARIES)}


def files():
    """Returns name -> bytes."""
    all = {}
    for n in (2, 3, 5, 6, 7, 8, 9):
        all[f"turn{n}.jpg"] = saved(RGB, "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0" + EXIF[n])
    for n in (5, 6):
        all[f"turn{n}.webp"] = saved(RGB, "WEBP", lossless=True, exif=EXIF[n])
        all[f"turn{n}.tif"] = tiff(tiff_tags(8, 2, 3, (274, 3, [n])), RGB.tobytes())
        all[f"turn{n}.png"] = rgb_png(chunk(b"eXIf", EXIF[n]))
        all[f"turn{n}-after.png"] = rgb_png(after=chunk(b"eXIf", EXIF[n]))
    all["turn-twice.png"] = rgb_png(chunk(b"eXIf", EXIF[6]), after=chunk(b"eXIf", EXIF[3]))
    all["interlaced.png"] = interlaced(RGB)
    all["interlaced-1x1.png"] = interlaced(RGB.crop((0, 0, 1, 1)))
    all["interlaced-3x2.png"] = interlaced(RGB.crop((0, 0, 3, 2)))
    for bits in (1, 2, 4):
        all[f"grey-{bits}.png"] = png(W, H, bits, 0, packed(small_numbers(bits), bits))
    colors = chunk(b"PLTE", bytes(range(48)))
    all["palette-4-transparent.png"] = png(W, H, 4, 3, packed(small_numbers(4), 4), colors,
                                           chunk(b"tRNS", bytes(range(0, 256, 20))))
    all["color-key.png"] = rgb_png(chunk(b"tRNS", struct.pack(">3H", *RGB.getpixel((3, 4)))))
    wide = noise(H, W, 3, 3).astype(">u2") * 256 + noise(H, W, 3, 4)
    all["rgb-16.png"] = png(W, H, 16, 2, [row.astype(">u2").tobytes() for row in wide])
    all["grey-16.png"] = png(W, H, 16, 0, [row[:, 0].astype(">u2").tobytes() for row in wide])
    all["grey-alpha.png"] = saved(RGBA.convert("LA"), "PNG")
    all["grey-alpha-16.png"] = png(W, H, 16, 4, [row[:, :2].astype(">u2").tobytes() for row in wide])
    all["rgba.png"] = saved(RGBA, "PNG")
    all["animated.png"] = saved(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)])
    all["animated-default.png"] = saved(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)], default_image=True)
    all["trailing.png"] = rgb_png() + b"more\0" * 50
    all["no-end.png"] = rgb_png(end=False)
    all["wrong-crc-pixels.png"] = rgb_png(wrong_crc=True)
    all["wrong-crc-text.png"] = rgb_png(chunk(b"tEXt", b"Comment\0text", wrong_crc=True))
    all["p3.png"] = saved(RGB, "PNG", icc_profile=P3)
    all["adobe.jpg"] = saved(RGB, "JPEG", quality=95, subsampling=0, icc_profile=ADOBE)
    all["adobe-alpha.png"] = saved(RGBA, "PNG", icc_profile=ADOBE)
    all["p3.webp"] = saved(RGB, "WEBP", lossless=True, icc_profile=P3)
    all["p3.tif"] = saved(RGB, "TIFF", icc_profile=P3)
    all["grey-gamma.png"] = saved(GREY, "PNG", icc_profile=GREY_GAMMA)
    all["lut-profile.tif"] = saved(RGB, "TIFF", icc_profile=lut_profile())
    all["srgb-profile.png"] = saved(RGB, "PNG", icc_profile=SRGB)
    all["damaged-profile.png"] = saved(RGB, "PNG", icc_profile=P3[:200])
    all["gamma.png"] = rgb_png(chunk(b"gAMA", struct.pack(">I", 55556)))
    all["cicp-p3.png"] = rgb_png(chunk(b"cICP", bytes([12, 13, 0, 1])))
    all["cicp-pq.png"] = rgb_png(chunk(b"cICP", bytes([9, 16, 0, 1])))
    all["cmyk.jpg"] = saved(RGB.convert("CMYK"), "JPEG", quality=95)
    all["progressive.jpg"] = saved(RGB, "JPEG", quality=95, subsampling=0, progressive=True)
    all["grey.jpg"] = saved(GREY, "JPEG", quality=95)
    all["420.jpg"] = saved(RGB, "JPEG", quality=95, subsampling=2)
    all["trailing.jpg"] = saved(RGB, "JPEG", quality=95, subsampling=0) + b"\xff\xd8more"
    all["small-frame.gif"] = gif_with_screen()
    all["animated.gif"] = saved(RGB, "GIF", save_all=True, append_images=[RGB.rotate(180)])
    all["transparent.gif"] = saved(GREY, "GIF", transparency=GREY.getpixel((0, 0)))
    all["interlaced.gif"] = saved(GREY, "GIF", interlace=1)
    all["animated.webp"] = saved(RGB, "WEBP", lossless=True, save_all=True, append_images=[RGB.rotate(180)])
    all["alpha.webp"] = saved(RGBA, "WEBP", lossless=True, exact=True)
    all["lossy.webp"] = saved(RGB, "WEBP", quality=90)
    for bits in (1, 2, 4, 8):
        values = packed(small_numbers(bits), bits) if bits < 8 else [row.tobytes() for row in np.asarray(GREY)]
        all[f"palette-{bits}.tif"] = tiff(tiff_tags(bits, 3, 1, palette(bits)), b"".join(values))
        all[f"grey-{bits}.tif"] = tiff(tiff_tags(bits, 1), b"".join(values))
    all["white-is-zero-4.tif"] = tiff(tiff_tags(4, 0), b"".join(packed(small_numbers(4), 4)))
    all["palette-big-endian.tif"] = tiff(tiff_tags(4, 3, 1, palette(4)), b"".join(packed(small_numbers(4), 4)), ">")
    all["palette-lzw.tif"] = saved(RGB.convert("P", palette=Image.Palette.ADAPTIVE), "TIFF", compression="tiff_lzw")
    all["big.tif"] = tiff(tiff_tags(8, 2, 3), RGB.tobytes(), big=True)
    all["big-palette.tif"] = tiff(tiff_tags(8, 3, 1, palette(8)), GREY.tobytes(), big=True)
    all["big-turned.tif"] = tiff(tiff_tags(8, 2, 3, (274, 3, [6])), RGB.tobytes(), big=True)
    all["big-big-endian.tif"] = tiff(tiff_tags(8, 3, 1, palette(8)), GREY.tobytes(), ">", big=True)
    for name, compression in [("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"), ("packbits", "packbits")]:
        all[f"{name}.tif"] = saved(RGB, "TIFF", compression=compression)
    all["fax.tif"] = saved(GREY.convert("1"), "TIFF", compression="group4")
    all["cmyk.tif"] = saved(RGB.convert("CMYK"), "TIFF")
    all["rgba.tif"] = saved(RGBA, "TIFF")
    floats = lambda values: np.asarray(values, "<f4").tobytes()
    unit = np.asarray(GREY, np.float32) / 255
    all["grey-float.tif"] = tiff(tiff_tags(32, 1, 1, (339, 3, [3])), floats(unit))
    all["grey-float-255.tif"] = tiff(tiff_tags(32, 1, 1, (339, 3, [3])), floats(unit * 255))
    rgb = np.asarray(RGB, np.float32) / 255
    all["rgb-float.tif"] = tiff(tiff_tags(32, 2, 3, (339, 3, [3] * 3)), floats(rgb))
    rgb[3, 4, 1] = np.nan
    all["rgb-float-nan.tif"] = tiff(tiff_tags(32, 2, 3, (339, 3, [3] * 3)), floats(rgb))
    all["lab.tif"] = tiff(tiff_tags(8, 8, 3), RGB.tobytes())
    all["bits1.bmp"] = saved(GREY.convert("1"), "BMP")
    all["bits8.bmp"] = saved(GREY, "BMP")
    all["bits24.bmp"] = saved(RGB, "BMP")
    all["bits32.bmp"] = saved(RGBA, "BMP")
    top_down = bytearray(saved(RGB, "BMP"))
    top_down[22:26] = struct.pack("<i", -H)
    all["top-down.bmp"] = bytes(top_down)
    all["rgba.qoi"] = saved(RGBA, "QOI")
    all["picture.avif"] = saved(RGB, "AVIF")
    all["picture.jp2"] = saved(RGB, "JPEG2000")
    all["picture.ico"] = saved(RGB.resize((16, 16)), "ICO")
    all["picture.ppm"] = saved(RGB, "PPM")
    all["picture.dds"] = saved(RGB, "DDS")
    all["picture.svg"] = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    all["picture.psd"] = b"8BPS\0\1" + b"\0" * 30
    all["picture.jxl"] = b"\xff\x0a" + b"\0" * 30
    all["picture.heic"] = b"\0\0\0\x18ftypheic" + b"\0" * 30
    return all


def flat(image):
    """RGB of an opened picture, with alpha composited onto white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips to 255
        return Image.fromarray((np.asarray(image, np.float64) / 257).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def pillow(data, to_srgb=False, profile=None):
    """Returns [height, width, 3], or an error. `profile` is used instead of the file's."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        profile = profile or image.info.get("icc_profile")
        image = ImageOps.exif_transpose(image)
        if to_srgb and profile:
            source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            mode = "RGB" if image.mode == "L" else image.mode
            image = ImageCms.profileToProfile(image, source, srgb, outputMode=mode)
        return np.asarray(flat(image))
    except Exception as error:
        return f"refuses: {error}".splitlines()[0][:70]


def program(folder, names, *options):
    """Returns for each file [height, width, 3], or an error."""
    lines = "".join(f"{folder / name}\t{folder / name}.out.png\n" for name in names)
    done = subprocess.run([PROGRAM, *options, "-"], input=lines, text=True, capture_output=True, check=True)
    errors = done.stdout.split("\n")
    read = lambda name: np.asarray(Image.open(f"{folder / name}.out.png"))
    return {name: f"refuses: {error}" if error else read(name) for name, error in zip(names, errors)}


def compared(expected, got):
    """Returns the largest difference, and the verdict."""
    if isinstance(expected, str) or isinstance(got, str):
        both = isinstance(expected, str) and isinstance(got, str)
        return "", "both refuse" if both else "vae refuses" if isinstance(got, str) else "Pillow refuses"
    if expected.shape != got.shape:
        return "", "OTHER SIZE"
    most = int(np.abs(expected.astype(int) - got).max())
    return most, "equal" if most == 0 else "within 2" if most <= 2 else "DIFFERENT"


def has_profile(name):
    return any(text in name for text in ("p3", "adobe", "gamma", "profile", "cicp"))


def table(folder):
    folder.mkdir(parents=True, exist_ok=True)
    all = files()
    for name, data in all.items():
        (folder / name).write_bytes(data)
    size = lambda result: result if isinstance(result, str) else f"{result.shape[1]}x{result.shape[0]}"
    print("| file | Pillow | vae | max diff | verdict |\n| --- | --- | --- | --- | --- |")
    counts = {}
    with_profile = [name for name in all if has_profile(name)]
    for names, to_srgb in [(list(all), False), (with_profile, True)]:
        got = program(folder, names, *(["--srgb"] if to_srgb else []))
        for name in names:
            expected = pillow(all[name], to_srgb, INSTEAD.get(name))
            most, verdict = compared(expected, got[name])
            counts[verdict] = counts.get(verdict, 0) + 1
            label = f"{name} --icc convert" if to_srgb else name
            print(f"| {label} | {size(expected)} | {size(got[name])} | {most} | {verdict} |")
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def golden():
    """Writes the files whose pixels are those of Pillow, except JPEG, and Pillow's pixels; also those in sRGB."""
    folder = HERE / "nasty"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    others = ("no-end", "wrong-crc", "small-frame", "grey-float", "lab", "lossy", "cicp-pq")
    for name, data in files().items():
        if not name.endswith((".png", ".tif", ".webp", ".gif", ".bmp", ".qoi")) or name.startswith(others):
            continue
        expected = {".expected.png": pillow(data)}
        if has_profile(name):
            expected[".srgb.png"] = pillow(data, True, INSTEAD.get(name))
        for ending, pixels in expected.items():
            if isinstance(pixels, np.ndarray):
                (folder / name).write_bytes(data)
                (folder / f"{name}{ending}").write_bytes(saved(Image.fromarray(pixels), "PNG", optimize=True))


if sys.argv[1:] == ["--golden"]:
    golden()
else:
    table(Path(sys.argv[1]).resolve())
