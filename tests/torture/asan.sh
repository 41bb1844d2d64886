#!/usr/bin/env bash
# Runs the tests of the kernels and of the built-in model with the address sanitizer, at every level of this machine.
# Feature maps are on the heap at their exact length then, so that the sanitizer finds an access beyond their end.
# As a control, an access beyond a map must be found. Needs a nightly toolchain and some minutes for the build.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/asan}
export RUSTFLAGS="--cfg vae_heap_maps -Zsanitizer=address"
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
# The tests leak the names of their weights on purpose.
export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
suite() {
    cargo +nightly test --locked --release --target "$target" --test suite -- "$@"
}

suite kernels golden encode_decode

out=$(mktemp)
trap 'rm -f "$out"' EXIT
caught=0 skipped=0
for level in avx512 avx2 portable; do
    if VAE_CPU=$level suite --ignored planted_overflow >"$out" 2>&1; then
        echo "FAILED: the planted overflow was not found at level $level"
        exit 1
    elif grep -q "AddressSanitizer: heap-buffer-overflow" "$out"; then
        caught=$((caught + 1))
    elif grep -q "does not have" "$out"; then
        skipped=$((skipped + 1))
    else
        cat "$out"
        exit 1
    fi
done
echo "passed; the planted overflow was found at $caught levels; $skipped levels are not on this machine"
