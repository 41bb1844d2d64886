"""Draws the training pictures: dead leaves, 1/f fields, gradients, stripes, shapes, text.

Everything comes from a seeded random generator; no photographs are used.
Run it directly to write a sheet of examples:

    python pictures.py --out sheet.png
"""

import argparse
import glob
import os
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CANVAS = 512  # side at which pictures are drawn, before they are halved to smooth the edges
FIELD = 640  # side of the grey texture fields


# --- colours ---------------------------------------------------------------


def hsv_to_rgb(hue, sat, val):
    """Converts arrays of hue, saturation and value in 0..1 to an (n, 3) array in 0..255."""
    k = (np.stack([hue * 6 + 5, hue * 6 + 3, hue * 6 + 1], -1)) % 6
    ramp = np.clip(np.minimum(k, 4 - k), 0, 1)
    return 255 * val[..., None] * (1 - sat[..., None] * ramp)


def palette(rng, count):
    """Returns `count` colours for one picture: a few hues, blends of a few colours, or uniformly random."""
    kind = rng.random()
    if kind < 0.25:
        return rng.uniform(0, 255, (count, 3))
    if kind < 0.65:
        # A few hues with mostly low saturation and a wide range of brightness.
        hues = rng.random(rng.integers(1, 5))
        hue = rng.choice(hues, count) + rng.normal(0, 0.03, count)
        sat = np.clip(rng.beta(1.3, 2.5, count) * rng.uniform(0.4, 1.6), 0, 1)
        val = rng.beta(1.1, 1.2, count) ** rng.uniform(0.6, 1.6)
        return hsv_to_rgb(hue % 1, sat, val)
    # Blends of a few anchor colours, each brightened or darkened as if lit differently.
    anchors = rng.uniform(0, 255, (rng.integers(2, 5), 3))
    grey = anchors.mean(1, keepdims=True)
    anchors = grey + (anchors - grey) * rng.uniform(0.1, 1.0)
    weights = rng.dirichlet(np.full(len(anchors), 0.4), count)
    light = rng.uniform(0.15, 1.3, (count, 1))
    return np.clip(weights @ anchors * light + rng.normal(0, 6, (count, 3)), 0, 255)


def tone(rng, picture):
    """Randomly changes the gamma, saturation, contrast, brightness and colour cast of a picture."""
    x = picture.astype(np.float32) / 255
    if rng.random() < 0.5:
        x = np.clip(x, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.6:
        grey = x.mean(2, keepdims=True)
        x = grey + (x - grey) * np.float32(rng.uniform(0.0, 1.3))
    if rng.random() < 0.6:
        gain = rng.uniform(0.35, 1.25) * np.exp(rng.normal(0, 0.12, 3))
        x = (x - 0.5) * gain.astype(np.float32) + 0.5 + np.float32(rng.normal(0, 0.12))
        x = x + rng.normal(0, 0.04, 3).astype(np.float32)
    return np.clip(x * 255, 0, 255)


# --- fields ----------------------------------------------------------------


def noise_field(rng, side, slope, stretch=1.0, angle=0.0):
    """A field with a 1/f**slope amplitude spectrum, optionally anisotropic; mean 0, standard deviation 1."""
    fy = np.fft.fftfreq(side)[:, None]
    fx = np.fft.rfftfreq(side)[None, :]
    u = fx * np.cos(angle) + fy * np.sin(angle)
    v = (fy * np.cos(angle) - fx * np.sin(angle)) * stretch
    radius = np.sqrt(u * u + v * v)
    radius[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) / np.maximum(radius, 0.5 / side) ** slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (side, side))
    return (field / field.std()).astype(np.float32)


def ramp_field(rng, side):
    """A linear or radial gradient; mean 0, standard deviation 1."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        field = x * np.cos(angle) + y * np.sin(angle)
    else:
        field = np.hypot(x - rng.uniform(-0.6, 0.6), (y - rng.uniform(-0.6, 0.6)) * rng.uniform(0.5, 2))
    return (field - field.mean()) / field.std()


def stripe_field(rng, side):
    """Slightly bent stripes or a grid, with hard or soft edges; values in about -1..1."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    period = np.exp(rng.uniform(np.log(6), np.log(120)))
    phase = (x * np.cos(angle) + y * np.sin(angle)) / period
    phase = phase + rng.uniform(0, 1.0) * noise_field(rng, side, 2.0) * 0.3
    wave = np.sin(2 * np.pi * phase)
    if rng.random() < 0.3:
        wave = wave * np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period)
    return np.tanh(wave * np.exp(rng.uniform(0, 3)))


def fields(rng, count=48):
    """A list of grey images (mode L, centred at 128) to cut textures from."""
    bank = []
    for i in range(count):
        kind = i % 6
        rough = noise_field(rng, FIELD, rng.uniform(0.6, 1.8), np.exp(rng.uniform(0, 2)), rng.uniform(0, 7))
        if kind < 3:
            field = rough
        elif kind == 3:
            field = ramp_field(rng, FIELD) + rough * rng.uniform(0, 0.3)
        elif kind == 4:
            field = stripe_field(rng, FIELD) + rough * rng.uniform(0, 0.6)
        else:
            field = noise_field(rng, FIELD, rng.uniform(1.8, 2.6)) + rough * rng.uniform(0, 0.2)
        bank.append(Image.fromarray(np.clip(128 + 50 * field, 0, 255).astype(np.uint8)))
    return bank


def tint(grey, dark, light):
    """Colours a grey image: 0 becomes `dark` and 255 becomes `light`."""
    steps = np.linspace(0, 1, 256)[:, None]
    tables = np.clip(dark + (light - dark) * steps, 0, 255).astype(np.uint8)
    return Image.merge("RGB", [grey.point(tables[:, c].tolist()) for c in range(3)])


def cut(rng, bank, width, height):
    """Returns a random crop of a random field, sometimes enlarged from a smaller crop."""
    field = bank[rng.integers(len(bank))]
    zoom = rng.choice([1, 1, 2, 3])
    w, h = max(2, width // zoom), max(2, height // zoom)
    w, h = min(w, FIELD), min(h, FIELD)
    x, y = rng.integers(FIELD - w + 1), rng.integers(FIELD - h + 1)
    return field.resize((width, height), Image.BILINEAR, box=(x, y, x + w, y + h))


# --- shapes ----------------------------------------------------------------


def outline(rng, kind, radius):
    """Returns the vertices of one shape around the origin, as an (n, 2) array."""
    turn = rng.uniform(0, 2 * np.pi)
    if kind == "blob":
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        r = np.ones_like(t)
        for k in range(2, 6):
            r += rng.normal(0, 0.35 / k) * np.cos(k * t + rng.uniform(0, 7))
        points = np.stack([np.cos(t) * r, np.sin(t) * r * rng.uniform(0.35, 1)], 1)
    elif kind == "ellipse":
        t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        points = np.stack([np.cos(t), np.sin(t) * rng.uniform(0.3, 1)], 1)
    elif kind == "box":
        a, b = 1, rng.uniform(0.2, 1)
        points = np.array([[-a, -b], [a, -b], [a, b], [-a, b]])
        if rng.random() < 0.5:
            turn = rng.normal(0, 0.05)
    elif kind == "strip":
        # A long bent band of varying width, such as a twig or a cable.
        t = np.linspace(-1, 1, 16)
        bend = rng.normal(0, 0.4) * t**2 + rng.normal(0, 0.3) * t**3
        width = rng.uniform(0.02, 0.1) * (1 + rng.uniform(-0.8, 0.8) * t)
        points = np.concatenate([np.stack([t * 2, bend + width], 1), np.stack([t * 2, bend - width], 1)[::-1]])
    else:
        corners = rng.integers(3, 8)
        t = np.sort(rng.uniform(0, 2 * np.pi, corners))
        r = rng.uniform(0.5, 1.2, corners)
        points = np.stack([np.cos(t) * r, np.sin(t) * r], 1)
    c, s = np.cos(turn), np.sin(turn)
    return points @ np.array([[c, s], [-s, c]]) * radius


def put_leaf(rng, picture, draw, bank, colour, radius, contrast):
    kinds = ["blob", "ellipse", "box", "strip", "polygon"]
    kind = rng.choice(kinds, p=[0.35, 0.2, 0.15, 0.12, 0.18])
    points = outline(rng, kind, radius) + rng.uniform(-0.1, 1.1, 2) * CANVAS
    if radius < 9:
        draw.polygon(points.ravel().tolist(), fill=tuple(int(c) for c in colour))
        return
    x0, y0 = np.clip(np.floor(points.min(0)), 0, CANVAS).astype(int)
    x1, y1 = np.clip(np.ceil(points.max(0)) + 1, 0, CANVAS).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    mask = Image.new("L", (int(x1 - x0), int(y1 - y0)))
    ImageDraw.Draw(mask).polygon((points - (x0, y0)).ravel().tolist(), fill=255)
    swing = rng.normal(0, 1, 3) * 0.25 + rng.choice([-1, 1])
    swing = swing * contrast * rng.exponential(1.0)
    patch = tint(cut(rng, bank, *mask.size), colour - swing, colour + swing)
    picture.paste(patch, (int(x0), int(y0)), mask)


def dead_leaves(rng, bank, picture=None):
    """Draws overlapping leaves of many sizes; the ones at the back may be out of focus."""
    least = np.exp(rng.uniform(np.log(5), np.log(50)))
    most = rng.uniform(90, 260)
    slope = rng.uniform(2.3, 3.2)
    mean_area = 1.5 * np.mean((least**(1 - slope) + rng.random(500) * (most**(1 - slope) - least**(1 - slope)))
                              ** (2 / (1 - slope)))
    count = int(np.clip(CANVAS**2 / mean_area * rng.uniform(0.6, 2.5), 8, 1500))
    u = rng.random(count)
    radii = (least ** (1 - slope) + u * (most ** (1 - slope) - least ** (1 - slope))) ** (1 / (1 - slope))
    if rng.random() < 0.5:
        radii = np.sort(radii)[::-1] * np.exp(rng.normal(0, 0.3, count))
    colours = palette(rng, count)
    contrast = np.exp(rng.uniform(np.log(5), np.log(80)))
    if picture is None:
        picture = cloud(rng, bank)
    blur_at = rng.integers(count) if rng.random() < 0.3 else -1
    draw = ImageDraw.Draw(picture)
    for i in range(count):
        put_leaf(rng, picture, draw, bank, colours[i], radii[i], contrast)
        if i == blur_at:
            picture.paste(picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 12)))))
    return picture


def cloud(rng, bank):
    """Draws a picture of one coloured field, or of several colours mixed by random masks."""
    size = (CANVAS, CANVAS)
    colours = palette(rng, rng.integers(2, 6))
    picture = tint(cut(rng, bank, *size), colours[0], colours[1])
    for colour in colours[2:]:
        other = Image.new("RGB", size, tuple(int(c) for c in colour))
        mask = cut(rng, bank, *size)
        sharp = np.exp(rng.uniform(0, 3))
        mask = mask.point([int(np.clip((v - 128) * sharp + 128, 0, 255)) for v in range(256)])
        picture.paste(other, (0, 0), mask)
    return picture


def stripes(rng, bank):
    """Draws stripes of two clouds."""
    field = stripe_field(rng, CANVAS)
    mask = Image.fromarray(np.clip(128 + 127 * field, 0, 255).astype(np.uint8))
    picture = cloud(rng, bank)
    picture.paste(cloud(rng, bank), (0, 0), mask)
    return picture


def put_text(rng, picture, fonts):
    """Draws random letters in random sizes, some slightly rotated."""
    letters = np.array(list(string.ascii_letters + string.digits + ".,:;!?-()&%" + " " * 10))
    for _ in range(rng.integers(1, 10)):
        size = int(np.exp(rng.uniform(np.log(16), np.log(120))))
        font = ImageFont.truetype(str(rng.choice(fonts)), size) if fonts else ImageFont.load_default(size)
        rows = ["".join(rng.choice(letters, rng.integers(2, 30))) for _ in range(rng.integers(1, 6))]
        mask = Image.new("L", (CANVAS, CANVAS))
        at = tuple(rng.uniform(-0.1, 0.7, 2) * CANVAS)
        ImageDraw.Draw(mask).multiline_text(at, "\n".join(rows), fill=255, font=font)
        if rng.random() < 0.5:
            mask = mask.rotate(rng.normal(0, 20), Image.BILINEAR)
        colour = tuple(int(c) for c in palette(rng, 1)[0])
        picture.paste(Image.new("RGB", picture.size, colour), (0, 0), mask)
    return picture


# --- whole pictures --------------------------------------------------------


def find_fonts():
    """Returns the TrueType fonts of the system. If there are none, Pillow's default font is used."""
    found = sorted(glob.glob("/usr/share/fonts/**/*.ttf", recursive=True))
    return [f for f in found if "Math" not in os.path.basename(f)]


class Painter:
    """Draws pictures of CANVAS / 2 pixels a side; equal seeds give equal pictures."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.bank = fields(self.rng)
        self.fonts = find_fonts()

    def draw(self):
        rng, bank = self.rng, self.bank
        kind = rng.random()
        if kind < 0.68:
            picture = dead_leaves(rng, bank)
        elif kind < 0.83:
            picture = cloud(rng, bank)
        elif kind < 0.89:
            picture = stripes(rng, bank)
        elif kind < 0.94:
            picture = put_text(rng, cloud(rng, bank), self.fonts)
        else:
            picture = put_text(rng, dead_leaves(rng, bank), self.fonts)
        side = CANVAS // 2
        if rng.random() < 0.3:
            picture = picture.filter(ImageFilter.GaussianBlur(float(np.exp(rng.uniform(np.log(0.5), np.log(5))))))
        picture = picture.resize((side, side), Image.BOX)
        x = np.asarray(picture, np.float32)
        if rng.random() < 0.5:
            # Uneven lighting.
            shade = np.asarray(cut(rng, bank[5::6], side, side), np.float32) / 128 - 1
            x = x * np.exp(shade * rng.uniform(0.1, 1.2))[..., None]
        x = tone(rng, x)
        if rng.random() < 0.3:
            x = x + rng.normal(0, rng.uniform(0.5, 5), x.shape)
        return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="sheet.png")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    painter = Painter(args.seed)
    rows = [np.concatenate([painter.draw() for _ in range(6)], 1) for _ in range(4)]
    Image.fromarray(np.concatenate(rows, 0)).save(args.out)


if __name__ == "__main__":
    main()
