#!/usr/bin/env bash
# Runs eight processes at once on one output folder.
#
#   tests/torture/two_processes.sh [VAE] [ROUNDS]     (target/release/vae, 5 rounds)
#
# It proves that all of them succeed, and that the folder is equal, byte by byte, to that of one process, without leftovers:
# for 40 pictures that all eight are given, in the same and in different orders. Needs bash, coreutils, diffutils and
# python3. Exits with 1 if anything is wrong.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
vae=$(realpath "${1:-target/release/vae}")
rounds=${2:-5}
processes=8
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache
encode=("$vae" encode --model tiny --threads 1)

"$here/pictures.py" pictures 40 128 96
start=$(date +%s%N)
"${encode[@]}" --quiet --out-dir one pictures/*
echo "one process: $((($(date +%s%N) - start) / 1000000)) ms"

wrong=0
fail() {
    echo "wrong: $1"
    wrong=$((wrong + 1))
}

for round in $(seq "$rounds"); do
    start=$(date +%s%N)
    pids=()
    for k in $(seq "$processes"); do
        inputs=(pictures/*)
        # In every second round, each process has its own order.
        [ $((round % 2)) -eq 1 ] || mapfile -t inputs < <(printf '%s\n' pictures/* | shuf --random-source=<(yes "$k"))
        "${encode[@]}" --out-dir "folder$round" "${inputs[@]}" >"out$k" 2>&1 &
        pids+=($!)
    done
    for k in $(seq "$processes"); do
        code=0
        wait "${pids[k - 1]}" || code=$?
        [ "$code" -eq 0 ] || fail "round $round: process $k ends with $code: $(grep -i error "out$k" | head -n 1)"
        ! grep -q panicked "out$k" || fail "round $round: process $k panics"
    done
    took=$((($(date +%s%N) - start) / 1000000))
    diff -r one "folder$round" >difference || fail "round $round: another folder: $(head -n 3 difference)"
    echo "round $round: $processes processes, $took ms, $(find "folder$round" -type f | wc -l) files"
done

echo "$wrong wrong"
[ "$wrong" -eq 0 ]
