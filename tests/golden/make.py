"""Writes the golden test data into the folder of this file:  python tests/golden/make.py

Requires exactly these packages (checks and prints their versions):
    torch 2.15.0, diffusers 0.42.1, numpy 2.4.6, pillow 13.0.0, safetensors 0.8.0, scikit-image 0.26.0

sd2.safetensors             the Stable Diffusion 2 autoencoder, a 96 x 64 picture
small.safetensors           a small autoencoder, a batch of 3 pictures with odd sides
tiny.safetensors            the trained model of assets/tiny
trace.safetensors           shape, mean, std, min and max of the output of each of its blocks; its modules
small_no_quant.safetensors  no 1x1 convolutions, no attention, 16 latent channels, a latent shift
resize.safetensors          Pillow's Lanczos resize of 8-bit pictures
random.safetensors          random numbers of torch on the CPU
metrics.safetensors         PSNR, SSIM and differences of pairs of 8-bit pictures

Only tiny has trained weights. The others' tensors are computed from names and shapes by formulas.py.

    python tests/golden/make.py --checkpoint DIR
writes the Stable Diffusion 2 autoencoder with formula weights into DIR, for benchmarks.
"""

import sys

sys.dont_write_bytecode = True

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from formulas import TorchCpuGenerator, formula_weights, picture

HERE = Path(__file__).resolve().parent
TINY = HERE.parent.parent / "assets" / "tiny"
VERSIONS = {
    "torch": "2.15.0",
    "diffusers": "0.42.1",
    "numpy": "2.4.6",
    "pillow": "13.0.0",
    "safetensors": "0.8.0",
    "scikit-image": "0.26.0",
}
SEED = 42

SD2 = dict(
    in_channels=3,
    out_channels=3,
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
    block_out_channels=[128, 256, 512, 512],
    layers_per_block=2,
    act_fn="silu",
    latent_channels=4,
    norm_num_groups=32,
    sample_size=768,
    scaling_factor=0.18215,
)
SMALL = SD2 | dict(
    down_block_types=["DownEncoderBlock2D"] * 3,
    up_block_types=["UpDecoderBlock2D"] * 3,
    block_out_channels=[32, 64, 64],
    layers_per_block=1,
    norm_num_groups=16,
    sample_size=48,
)
SMALL_NO_QUANT = SMALL | dict(
    use_quant_conv=False,
    use_post_quant_conv=False,
    mid_block_add_attention=False,
    scaling_factor=1.5,
    shift_factor=0.1,
    latent_channels=16,
)


def check_versions():
    wrong = []
    for package, pinned in VERSIONS.items():
        found = importlib.metadata.version(package).split("+")[0]
        print(f"{package} {found}")
        if found != pinned:
            wrong.append(f"{package} is {found}, not {pinned}")
    if wrong:
        raise SystemExit("; ".join(wrong))


def sort_metadata(path):
    """Sorts the metadata by key, because save_file's order differs between runs."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    assert len(text) == length
    path.write_bytes(data[:8] + text + data[8 + length:])


def save(name, tensors, **metadata):
    """Writes a file, reads it back and prints a line for each tensor."""
    path = HERE / f"{name}.safetensors"
    tensors = {key: np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
               for key, value in tensors.items()}
    save_file(tensors, path, metadata=metadata)
    path.chmod(0o644)
    sort_metadata(path)
    print(f"\n{path.name}  {path.stat().st_size} bytes  {metadata}")
    with safe_open(path, "np") as file:
        assert file.metadata() == metadata
        assert set(file.keys()) == set(tensors)
        for key, value in tensors.items():
            again = file.get_tensor(key)
            assert again.dtype == value.dtype and again.shape == value.shape, key
            assert np.array_equal(again, value) and np.isfinite(value).all(), key
            print(f"  {key:26} {str(value.dtype):8} {str(list(value.shape)):18} "
                  f"min {value.min():9.4f}  max {value.max():9.4f}  "
                  f"mean {value.mean():9.4f}  std {value.std():8.4f}")


def autoencoder(config):
    """Returns the diffusers model of `config` with formula weights."""
    model = AutoencoderKL.from_config(config).eval()
    names = model.state_dict()
    if config.get("mid_block_add_attention", True):
        assert "encoder.mid_block.attentions.0.to_out.0.weight" in names
    for name, tensor in names.items():
        tensor.copy_(torch.from_numpy(formula_weights(name, tuple(tensor.shape))))
    return model


def encode_and_decode(name, config, x, model=None):
    """Writes every stage of encoding and decoding `x`; returns the latents in torch's memory layout."""
    model = model or autoencoder(config)
    scale, shift = config["scaling_factor"], config.get("shift_factor")

    def to_z_input(latents):
        return latents / scale + shift if shift is not None else latents / scale

    x = torch.from_numpy(x)
    out = {"x": x, "h": model.encoder(x)}
    posterior = model.encode(x).latent_dist
    out |= {"moments": posterior.parameters, "mean": posterior.mean,
            "logvar": posterior.logvar, "std": posterior.std}
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator("cpu").manual_seed(SEED))
    sample = posterior.sample(torch.Generator("cpu").manual_seed(SEED))
    assert torch.equal(sample, posterior.mean + posterior.std * noise)
    latents = (sample - shift) * scale if shift is not None else sample * scale
    z = to_z_input(latents)
    dec = model.decode(z).sample
    z = model.post_quant_conv(z) if model.post_quant_conv is not None else z
    assert torch.equal(dec, model.decoder(z))
    out |= {"noise": noise, "sample": sample, "latents": latents, "z": z, "dec": dec}

    # The 8-bit picture: clamp(dec/2 + 0.5) * 255, with ties rounded to even.
    pil = VaeImageProcessor().postprocess(dec, output_type="pil")
    pictures = np.stack([np.asarray(p) for p in pil])
    by_hand = (dec / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pictures, (by_hand * 255).round().astype(np.uint8))

    # The same weights, picture and latents in double precision, rounded to float32 at the end.
    model = model.double()
    moments_f64 = model.encode(x.double()).latent_dist.parameters
    dec_f64 = model.decode(to_z_input(latents.double())).sample
    out |= {"moments_f64": moments_f64.float(), "dec_f64": dec_f64.float()}
    tensors = {key: value.numpy() for key, value in out.items()}
    tensors["picture_u8"] = pictures[0] if len(pictures) == 1 else pictures
    save(name, tensors, config=json.dumps({"_class_name": "AutoencoderKL", **config}), seed=str(SEED),
         torch=VERSIONS["torch"], diffusers=VERSIONS["diffusers"])

    print(f"  parameters {sum(p.numel() for p in model.parameters())}; "
          f"float32 against double: moments {(out['moments'] - moments_f64).abs().max():.2e}, "
          f"dec {(dec - dec_f64).abs().max():.2e}; "
          f"dec outside [-1, 1]: {(dec.abs() > 1).float().mean():.2%}; "
          f"logvar clamped: {int(((posterior.logvar <= -30) | (posterior.logvar >= 20)).sum())}")
    return latents


GLYPHS = {  # 3 x 5 pixels, one digit per row, one bit per pixel
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711",
    "5": "74717", "6": "74757", "7": "71122", "8": "75757", "9": "75717",
}


def photo(width, height, seed):
    """An 8-bit RGB picture: 1/f noise in colour, hard-edged shapes, fine lines and small digits."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    mixing = np.array([[1.0, 0.35, 0.1], [1.0, 0.0, -0.25], [1.0, -0.3, 0.3]])
    noise = np.fft.fft2(rng.standard_normal((3, height, width))) / frequency
    noise = np.real(np.fft.ifft2(noise))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    image = 120.0 + 45.0 * np.einsum("ck,khw->hwc", mixing, noise)
    y, x = np.mgrid[0:height, 0:width]
    image[(x - 0.3 * width) ** 2 + (y - 0.35 * height) ** 2 < (0.17 * height) ** 2] = [250, 40, 30]
    image[(abs(x - 0.7 * width) < 0.12 * width) & (abs(y - 0.3 * height) < 0.15 * height)] = [10, 20, 90]
    image[(y > 0.75 * height) & (x - 0.1 * width > 1.3 * (height - y))
          & (x < 0.45 * width)] = [255, 255, 255]
    image[(x > 0.6 * width) & (y > 0.6 * height) & ((x + 2 * y) % 7 < 1)] = [255, 255, 0]
    image[(x > 0.8 * width) & (y > 0.55 * height) & (x % 2 == 0)] = 0
    for line, colour in enumerate([0, 255]):
        for place in range(int(0.5 * width) // 4):
            rows = GLYPHS[str((place * 7 + line) % 10)]
            for dy, row in enumerate(rows):
                for dx in range(3):
                    if int(row) >> (2 - dx) & 1:
                        image[int(0.6 * height) + 8 * line + dy, 5 + 4 * place + dx] = colour
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def make_resize():
    source = photo(333, 250, seed=1)
    tensors = {"source": source}
    for width, height in [(320, 224), (256, 248), (96, 64)]:
        resized = Image.fromarray(source).resize((width, height), Image.Resampling.LANCZOS)
        tensors[f"resized_{width}x{height}"] = np.asarray(resized)
    save("resize", tensors, pillow=VERSIONS["pillow"], filter="LANCZOS", sizes="width x height")


def make_random(latents):
    """Writes random numbers of torch's CPU generator, and compares them with TorchCpuGenerator."""
    tensors, worst = {}, {"rand": 0.0, "randn, 16 or more": 0.0, "randn, below 16": 0.0}

    def draw(key, kind, count, generator, formula):
        drawn = getattr(torch, kind)(count, generator=generator).numpy()
        ours = getattr(formula, kind)(count)
        group = kind if kind == "rand" else "randn, 16 or more" if count >= 16 else "randn, below 16"
        worst[group] = max(worst[group], float(abs(drawn.astype(np.float64) - ours).max()))
        tensors[key] = drawn

    def both(seed):
        return torch.Generator("cpu").manual_seed(seed), TorchCpuGenerator(seed)

    for seed in [0, SEED, 123456789012]:
        for count in [16, 100, 4 * 60 * 64 if seed == SEED else 1000]:
            draw(f"randn_{seed}_{count}", "randn", count, *both(seed))
            draw(f"rand_{seed}_{count}", "rand", count, *both(seed))
        for count in [5, 12]:
            draw(f"randn_{seed}_{count}", "randn", count, *both(seed))

    # One generator for the whole sequence. f starts with the normal that d cached; e does not use the cache.
    pair = both(SEED)
    for letter, kind, count in [("a", "randn", 100), ("b", "randn", 64), ("c", "rand", 50),
                                ("d", "randn", 5), ("e", "randn", 16), ("f", "randn", 6)]:
        draw(f"{kind}_seq_{SEED}_{letter}", kind, count, *pair)

    # Only the low 32 bits of a seed reach the generator's state.
    long_seed, low = 123456789012, 123456789012 & 0xFFFFFFFF
    assert np.array_equal(tensors[f"randn_{long_seed}_1000"],
                          torch.randn(1000, generator=both(low)[0]).numpy())

    # latents + (rand_like(latents) - 0.5) * mean(abs(latents)) * level. rand_like fills memory in
    # order, and the encoder's output for a batch of several pictures is channels-last in memory: its
    # uniforms run over n, h, w, c. Those of a single picture or a contiguous tensor run over n, c, h, w.
    def noisy(latents):
        torch.manual_seed(SEED)
        return latents + (torch.rand_like(latents) - 0.5) * latents.abs().mean() * 0.5

    assert latents.is_contiguous(memory_format=torch.channels_last)
    plain = latents.contiguous()
    uniform = torch.from_numpy(TorchCpuGenerator(SEED).rand(plain.numel()))
    n, c, h, w = plain.shape
    torch.manual_seed(SEED)
    assert torch.equal(uniform.reshape(n, c, h, w), torch.rand_like(plain))
    torch.manual_seed(SEED)
    assert torch.equal(uniform.reshape(n, h, w, c).permute(0, 3, 1, 2), torch.rand_like(latents))
    tensors |= {"noise_in": plain.numpy(), "noise_out": noisy(plain).numpy(),
                "noise_out_channels_last": noisy(latents).numpy()}
    save("random", tensors, torch=VERSIONS["torch"], noise_seed=str(SEED), noise_level="0.5")
    for group, difference in worst.items():
        print(f"  formula against torch, {group}: at most {difference:.2e}")
        assert difference < 3e-6


def make_metrics():
    a = photo(61, 47, seed=2)
    wide = np.pad(a.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    blurred = sum(wide[dy:dy + 47, dx:dx + 61] for dy in range(3) for dx in range(3)) / 9
    noisy = 0.5 * a + 0.5 * blurred + np.random.default_rng(3).normal(0, 6, a.shape)
    noisy = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
    tall = photo(33, 70, seed=4)
    plain = np.full_like(tall, [90, 130, 200])
    pairs = {
        "noisy": (a, noisy),
        "shifted": (tall, np.roll(tall, 3, axis=1)),
        "negative": (tall, 255 - tall),
        "plain": (plain, np.full_like(tall, [100, 130, 180])),
        "half_plain": (tall, plain),
        "one_window": (a[:11, :11], noisy[:11, :11]),
        "one_row": (a[:11, :29], noisy[:11, :29]),
    }
    tensors = {}
    for name, (a, b) in pairs.items():
        difference = np.abs(a.astype(np.float64) - b)
        tensors |= {
            f"{name}.a": a, f"{name}.b": b,
            f"{name}.psnr": np.float64(peak_signal_noise_ratio(a, b, data_range=255)),
            f"{name}.ssim": np.float64(structural_similarity(
                a, b, gaussian_weights=True, use_sample_covariance=False, sigma=1.5, data_range=255,
                channel_axis=2)),
            f"{name}.max": difference.max(), f"{name}.mean": difference.mean(),
        }
    save("metrics", tensors, **{"scikit-image": VERSIONS["scikit-image"]})


def make_tiny():
    model = AutoencoderKL.from_pretrained(TINY, torch_dtype=torch.float32).eval()
    config = json.loads((TINY / "config.json").read_text())
    make_trace(model, config["scaling_factor"])
    encode_and_decode("tiny", config, picture(72, 104, 1), model)


def make_trace(model, scale):
    """Writes statistics of each stage of encoding a picture to the posterior mean and decoding it, in order."""
    seen, hooks = {}, []

    def see(name, tensor):
        x = tensor.double()
        seen[name] = np.array(list(x.shape) + [x.mean(), x.std(correction=0), x.min(), x.max()])

    for side in ["encoder", "decoder"]:
        part = getattr(model, side)
        blocks = {"conv_in": part.conv_in, "mid_block": part.mid_block}
        lists = ["down_blocks"] if side == "encoder" else ["up_blocks"]
        blocks |= {f"{key}.{i}": block for key in lists for i, block in enumerate(getattr(part, key))}
        for key, block in blocks.items():
            hooks.append(block.register_forward_hook(
                lambda _module, _x, y, name=f"{side}.{key}": see(name, y)))
    image = photo(104, 72, seed=5)
    x = 2.0 * (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255.0) - 1.0
    see("image tensor", x)
    h = model.encoder(x)
    see("h", h)
    moments = model.quant_conv(h)
    see("moments", moments)
    latents = model.encode(x).latent_dist.mode() * scale
    see("latents", latents)
    z = model.post_quant_conv(latents / scale)
    see("z", z)
    see("dec", model.decoder(z))
    for hook in hooks:
        hook.remove()
    names = ["encoder", "quant_conv", "post_quant_conv", "decoder"]
    modules = [[".".join(filter(None, [name, path])), repr(module).splitlines()[0],
                sum(p.numel() for p in module.parameters())]
               for name in names for path, module in getattr(model, name).named_modules()
               if any(True for _ in module.parameters())]
    save("trace", {"picture": image} | seen, stages=json.dumps(list(seen)), modules=json.dumps(modules),
         torch=VERSIONS["torch"], diffusers=VERSIONS["diffusers"])


def main():
    check_versions()
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    if sys.argv[1:2] == ["--checkpoint"]:
        return autoencoder(SD2).save_pretrained(sys.argv[2])
    make_tiny()
    make_resize()
    make_metrics()
    latents = encode_and_decode("small", SMALL, picture(37, 50, 3))
    encode_and_decode("small_no_quant", SMALL_NO_QUANT, picture(24, 40, 1))
    make_random(latents)
    encode_and_decode("sd2", SD2, picture(64, 96, 1))
    print(f"\nall files: {sum(p.stat().st_size for p in HERE.glob('*.safetensors'))} bytes")


if __name__ == "__main__":
    main()
