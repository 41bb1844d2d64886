"""Formulas behind the golden data, each small enough to be reimplemented in Rust.

* `formula_weights`: computes a checkpoint tensor from its name and shape alone.
* `picture`: an 8-bit test picture as an input tensor of the encoder.
* `Mt19937` and `TorchCpuGenerator`: the random numbers of `torch.Generator("cpu")`.
"""

import math

import numpy as np

MASK64 = (1 << 64) - 1


def fnv1a64(text):
    """FNV-1a, 64 bits, over the UTF-8 bytes of `text`."""
    hash_ = 0xCBF29CE484222325
    for byte in text.encode("utf-8"):
        hash_ = ((hash_ ^ byte) * 0x100000001B3) & MASK64
    return hash_


def splitmix_unit(seed, start, stop):
    """u_i in [0, 1) for start <= i < stop: the upper 24 bits of splitmix64 at seed + (i+1)*golden."""
    i = np.arange(start + 1, stop + 1, dtype=np.uint64)
    z = i * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-24


def formula_weights(name, shape):
    """The float32 array of the checkpoint tensor `name`; i runs over its flat row-major index.

    With t = 2*u_i - 1, in float64 and then rounded to float32:
      two or more axes:     t * sqrt(3 / fan_in), fan_in = product of shape[1:]  (unit gain)
      one axis, ".weight":  1 + 0.1*t   (a norm's scale)
      one axis, other:      0.05*t      (a bias)
    """
    seed = fnv1a64(name)
    count = math.prod(shape)
    out = np.empty(count, dtype=np.float32)
    chunk = 1 << 18
    for start in range(0, count, chunk):
        stop = min(start + chunk, count)
        t = 2.0 * splitmix_unit(seed, start, stop) - 1.0
        if len(shape) >= 2:
            value = t * math.sqrt(3.0 / math.prod(shape[1:]))
        elif name.endswith(".weight"):
            value = 1.0 + 0.1 * t
        else:
            value = 0.05 * t
        out[start:stop] = value
    return out.reshape(shape)


def picture(height, width, n):
    """`n` RGB pictures [n, 3, height, width] in [-1, 1]: waves, a hard-edged disc and fine grain.

    Each value is 2*(a/255) - 1 in float32, where a is an 8-bit level, as if read from a picture file.
    """
    b, c, y, x = np.meshgrid(
        np.arange(n), np.arange(3), np.arange(height), np.arange(width), indexing="ij"
    )
    waves = 0.30 * np.sin(0.11 * x + 0.07 * y + 1.3 * c + 2.1 * b)
    waves += 0.25 * np.cos(0.05 * x * (1 + b) - 0.13 * y + 0.9 * c)
    radius = 0.3 * min(height, width)
    inside = (x - 0.55 * width) ** 2 + (y - 0.45 * height) ** 2 < radius**2
    disc = np.where(inside, 0.5 - 0.4 * c, -0.1)
    grain = splitmix_unit(fnv1a64("picture"), 0, b.size).reshape(b.shape) - 0.5
    level = np.rint(np.clip(0.5 + 0.5 * (waves + disc + 0.2 * grain), 0.0, 1.0) * 255.0)
    return (2.0 * (level.astype(np.float32) / np.float32(255.0)) - 1.0).astype(np.float32)


class Mt19937:
    """The Mersenne Twister, 32-bit outputs, seeded by init_genrand with the low 32 bits of the seed."""

    N, M = 624, 397

    def __init__(self, seed):
        self.state = [seed & 0xFFFFFFFF]
        for j in range(1, self.N):
            previous = self.state[-1]
            self.state.append((1812433253 * (previous ^ (previous >> 30)) + j) & 0xFFFFFFFF)
        self.next = self.N

    def twist(self):
        s = self.state
        for j in range(self.N):
            y = (s[j] & 0x80000000) | (s[(j + 1) % self.N] & 0x7FFFFFFF)
            s[j] = s[(j + self.M) % self.N] ^ (y >> 1) ^ (0x9908B0DF if y & 1 else 0)
        self.next = 0

    def __call__(self):
        if self.next == self.N:
            self.twist()
        y = self.state[self.next]
        self.next += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C5680
        y ^= (y << 15) & 0xEFC60000
        return y ^ (y >> 18)


class TorchCpuGenerator:
    """float32 `torch.rand` and `torch.randn` of a CPU generator, for contiguous tensors."""

    def __init__(self, seed):
        self.engine = Mt19937(seed)
        self.cached = None  # the second normal of a double-precision Box-Muller pair

    def uniform_f32(self):
        return (self.engine() & 0xFFFFFF) * 2.0**-24

    def uniform_f64(self):
        high = self.engine()
        low = self.engine()
        return (((high << 32) | low) & ((1 << 53) - 1)) * 2.0**-53

    def rand(self, count):
        return np.array([self.uniform_f32() for _ in range(count)], dtype=np.float32)

    def randn(self, count):
        return self.randn_short(count) if count < 16 else self.randn_filled(count)

    def randn_short(self, count):
        """Fewer than 16 values: one by one in double precision; the cache persists between calls."""
        out = []
        for _ in range(count):
            if self.cached is not None:
                out.append(self.cached)
                self.cached = None
                continue
            u1 = self.uniform_f64()
            u2 = self.uniform_f64()
            radius = math.sqrt(-2.0 * math.log1p(-u2))
            theta = 2.0 * math.pi * u1
            self.cached = radius * math.sin(theta)
            out.append(radius * math.cos(theta))
        return np.array(out, dtype=np.float32)

    def randn_filled(self, count):
        """16 values or more: all uniforms first, then groups of 16; the cache is not used.

        If the count is not a multiple of 16, the last 16 values use 16 new uniforms.
        """
        data = self.rand(count)
        whole = count - count % 16
        data[:whole] = box_muller_16(data[:whole])
        if count % 16:
            data[-16:] = box_muller_16(self.rand(16))
        return data


def box_muller_16(uniforms):
    """In each group of 16 uniforms, pairs value j with j + 8: cosines to the first half, sines to the second.

    All in float32. With `log_f32` and `sincos_f32` this equals torch's AVX2 code bit for bit. On a processor
    without AVX2, torch uses the C library's functions, which differ by up to 2e-6.
    """
    u = uniforms.reshape(-1, 2, 8)
    radius = np.sqrt(F32(-2.0) * log_f32(F32(1.0) - u[:, 0]))
    sin, cos = sincos_f32(F32(2.0 * math.pi) * u[:, 1])
    return np.stack([radius * cos, radius * sin], axis=1).ravel()


F32 = np.float32


def fma(a, b, c):
    """a*b + c in float32, rounded once (except for rare ties of the double-precision sum)."""
    return (np.float64(a) * np.float64(b) + np.float64(c)).astype(F32)


LOG_P = [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
         -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1]


def log_f32(x):
    """Cephes logf of normal positive numbers, with the fused operations of torch's vector code."""
    bits = x.view(np.int32)
    e = ((bits >> 23) - 126).astype(F32)
    x = ((bits & 0x007FFFFF) | 0x3F000000).view(F32)  # the mantissa, in [0.5, 1)
    low = x < F32(0.707106781186547524)
    e = np.where(low, e - F32(1.0), e)
    x = np.where(low, (x - F32(1.0)) + x, x - F32(1.0))
    z = x * x
    y = np.full_like(x, LOG_P[0])
    for p in LOG_P[1:]:
        y = fma(y, x, F32(p))
    y = fma(y * x, z, e * F32(-2.12194440e-4))
    y = fma(z, F32(-0.5), y)
    return fma(e, F32(0.693359375), x + y)


def sincos_f32(x):
    """Cephes sinf and cosf of numbers in [0, 2 pi], with the fused operations of torch's vector code."""
    j = ((x * F32(1.27323954473516)).astype(np.int32) + 1) & ~1  # the octant, rounded up to even
    y = j.astype(F32)
    for part in [-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8]:
        x = fma(y, F32(part), x)
    z = x * x
    c = np.full_like(x, 2.443315711809948e-5)
    c = fma(c, z, F32(-1.388731625493765e-3))
    c = fma(c, z, F32(4.166664568298827e-2))
    c = fma(c * z, z, -(z * F32(0.5))) + F32(1.0)
    s = np.full_like(x, -1.9515295891e-4)
    s = fma(s, z, F32(8.3321608736e-3))
    s = fma(s, z, F32(-1.6666654611e-1))
    s = fma(s * z, x, x)
    straight = (j & 2) == 0
    sin, cos = np.where(straight, s, c), np.where(straight, c, s)
    return np.where((j & 4) != 0, -sin, sin), np.where(((j - 2) & 4) == 0, -cos, cos)
