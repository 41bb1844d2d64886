#!/usr/bin/env bash
# Regenerates the figures of the README with the built-in model. Requires only Rust.
set -euo pipefail
cd "$(dirname "$0")/.."

vae() { cargo run --locked --release --quiet -- "$@"; }

vae roundtrip --noise 0.5 -o assets/roundtrip.jpg
vae roundtrip --figure assets/figure-light.jpg --quality 65
vae roundtrip --figure assets/figure-dark.jpg --theme dark --quality 65
vae roundtrip --noise 0.1..1.0/6 -o assets/sweep.jpg --quality 65
