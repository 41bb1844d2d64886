#!/usr/bin/env bash
# Kills runs of `vae encode --out-dir` at random moments and checks what they leave.
#
#   tests/torture/kill.sh PATH/TO/vae [KILLS]     (60 by default)
#
# After each kill, no output may be half written; then a second run must complete the folder, so that it is equal, byte by
# byte, to the folder of an undisturbed run, without leftovers. With strace, one run is also killed exactly at the rename of
# an output, one before and one after it, and one is ended by each signal while it writes. Exits with 1 if
# anything is wrong. Needs bash, coreutils, diffutils, procps and python3.
set -euo pipefail

vae=$(realpath "${1:?the path of vae}")
kills=${2:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache
RANDOM=1

# 40 different pictures of 128×96 pixels.
mkdir pictures
python3 - <<'PYTHON'
for k in range(40):
    pixels = bytes((x * (k + 1) + y * 3 + c * 40) & 255 for y in range(96) for x in range(128) for c in range(3))
    head = b"BM" + (54 + len(pixels)).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    info = (40).to_bytes(4, "little") + (128).to_bytes(4, "little") + (96).to_bytes(4, "little")
    info += (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    open(f"pictures/{k:02}.bmp", "wb").write(head + info + pixels)
PYTHON

encode=("$vae" encode --model tiny --quiet --out-dir)
wrong=0 checked=0 leftovers=0 completed=0 done_at_kill=()

fail() {
    echo "wrong: $1"
    wrong=$((wrong + 1))
}

# Checks the folder after a kill ($2 describes it), runs the command again, and checks the folder again.
check() {
    local folder=$1 name=$2 file count=0
    for file in "$folder"/*; do
        [[ -e $file ]] || continue
        count=$((count + 1))
        cmp --quiet "$file" "whole/$(basename "$file")" || fail "$name: $(basename "$file") is not whole"
    done
    done_at_kill+=("$count")
    left=$(find "$folder" -name '.vae-*' 2>/dev/null | wc -l)
    leftovers=$((leftovers + left))
    "${encode[@]}" "$folder" pictures/* || fail "$name: the second run ends with $?"
    diff --recursive whole "$folder" >/dev/null || fail "$name: the second run gives another folder"
    [[ -z $(find "$folder" -name '.vae-*') ]] || fail "$name: a leftover after the second run"
    checked=$((checked + 1))
    rm -rf "$folder"
}

start=$(date +%s%N)
"${encode[@]}" whole pictures/*
whole=$((($(date +%s%N) - start) / 1000))
echo "an undisturbed run takes $((whole / 1000)) ms"

for ((i = 0; i < kills; i++)); do
    "${encode[@]}" d pictures/* &
    pid=$!
    at=$((RANDOM * 32768 + RANDOM)) # of 2^30
    sleep "$(printf '%d.%06d' 0 $((at % (whole > 999999 ? 999999 : whole))))"
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null && completed=$((completed + 1)) || true
    check d "kill $i"
done
echo "$kills kills at random moments: $completed runs were complete before; outputs at the kill, sorted:" \
    "$(printf '%s\n' "${done_at_kill[@]}" | sort -n | tr '\n' ' ')"
echo "leftovers of these, removed by the second run: $leftovers"

# Kills a run when it enters a system call for the nth time: inject NAME CALL N LEFTOVERS OUTPUTS.
inject() {
    local before=$leftovers
    { strace -f -q -o /dev/null -e "trace=$2" -e "inject=$2:signal=KILL:when=$3" "${encode[@]}" d pictures/* &&
        fail "$1: the run was not killed"; } 2>/dev/null
    check d "$1"
    echo "$1: $((leftovers - before)) leftovers, removed by the second run; outputs: ${done_at_kill[-1]}"
    ((leftovers - before == $4 && done_at_kill[-1] == $5)) || fail "$1: not the right moment"
}

if strace -o /dev/null true 2>/dev/null; then
    inject "killed before the flush" fsync 20 2 19
    # Each output is renamed, and before each but the first, the file of the claim.
    inject "killed at the rename" renameat2 39 2 19
    inject "killed after the rename" renameat2 40 1 20
    for signal in INT TERM HUP; do
        # The flush is slow, so that the signal arrives while there is a temporary file.
        # `env` is needed because bash starts background processes with SIGINT ignored.
        env --default-signal="$signal" strace -f -q -o /dev/null -e trace=fsync -e inject=fsync:delay_enter=3000000:when=20 \
            "${encode[@]}" d pictures/* 2>messages &
        strace=$!
        until compgen -G "d/.vae-*.tmp" >/dev/null && (($(ls d | wc -l) == 19)); do sleep 0.01; done
        kill -s "$signal" "$(pgrep -P "$strace")"
        status=0; wait "$strace" 2>/dev/null || status=$?
        ((status > 128)) || fail "SIG$signal: the run was not ended"
        echo "SIG$signal while writing: ended with $status, and says: $(head -n 1 messages)"
        grep -q "19 of 40 inputs are done, 21 remain" messages || fail "$signal: no summary"
        [[ -z $(find d -name '.vae-*') ]] || fail "SIG$signal: a leftover"
        check d "SIG$signal"
    done
else
    echo "skipped: kills at the rename and signals while writing (strace is missing or not permitted)"
fi

echo "$checked folders checked, $wrong wrong"
((wrong == 0))
