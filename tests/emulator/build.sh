#!/usr/bin/env bash
# Builds the emulated device into a folder: libcuda.so, libnvrtc.so and libcudnn.so, which are links to one library, and the test
# program `check`. Needs g++ 12 or newer and binutils on x86-64.
# Usage: tests/emulator/build.sh DIR
set -euo pipefail

out=$(mkdir -p "${1:?a folder for the libraries}" && cd "$1" && pwd)
cd "$(dirname "$0")"
source=../../src/kernels/cuda/source
parts=("$source"/{element,layout,group_norm,rms_norm,attention}.cu) # in the order in which the program concatenates them
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The sources as a string, and the list of kernels with their maximum threads per block.
{ echo 'R"source('; cat "${parts[@]}"; echo ')source"'; } > "$work/source.inc"
sed -nE 's/.*__global__ void (__launch_bounds__\(([0-9]+)\) )?([a-z_0-9]+)\(.*/\3 \2/p' "${parts[@]}" > "$work/kernels"
awk '{ print "KERNEL(" $1 ", " ($2 ? $2 : 1024) ")" }' "$work/kernels" > "$work/kernels.inc"
cut -d ' ' -f 1 "$work/kernels" > "$work/names"

flags=(-std=c++20 -O3 -march=native -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unknown-pragmas -pthread -I "$work" -I "$source")
for element in 16 17 32; do
    g++ "${flags[@]}" -DELEMENT=$element -c kernels.cpp -o "$work/kernels_$element.o"
    objcopy --localize-symbols="$work/names" "$work/kernels_$element.o" # because the names are equal in all precisions
done
for part in common memory threads driver nvrtc convolution cudnn; do
    g++ "${flags[@]}" -c $part.cpp -o "$work/$part.o"
done
# The library is never unloaded: its threads live as long as the process.
g++ -shared -pthread -Wl,-z,nodelete,-z,defs -o "$work/library" "$work"/*.o
mv "$work/library" "$out/libemulated.so"
for name in cuda nvrtc cudnn; do ln -sf libemulated.so "$out/lib$name.so"; done
g++ "${flags[@]}" check.cpp -o "$out/check" "$out/libemulated.so" -Wl,-rpath,'$ORIGIN'
