#!/usr/bin/env bash
# Encodes a large and two small pictures in a memory cgroup. The large one must be refused with the limit in the message,
# and the small ones done; nothing may be killed. Needs root on Linux, and is skipped where no cgroup can be created.
# Usage: cgroup.sh VAE, the path of the program.
set -euo pipefail
vae=$(realpath "${1:?usage: cgroup.sh VAE}")
limit=$((200 * 1000 * 1000))
checks=6

skip() {
    echo "skipped: $checks checks ($1)"
    exit 0
}
fail() {
    echo "FAILED: $1"
    exit 1
}

if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
    group=/sys/fs/cgroup/vae-test-$$ file=memory.max
    grep -qw memory /sys/fs/cgroup/cgroup.subtree_control || skip "the memory controller is off"
elif [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
    group=/sys/fs/cgroup/memory/vae-test-$$ file=memory.limit_in_bytes
else
    skip "no memory cgroups"
fi
mkdir "$group" 2>/dev/null || skip "no permission to create a cgroup"
work=$(mktemp -d)
trap 'rm -rf "$work"; rmdir "$group"' EXIT
echo $limit >"$group/$file" || skip "no permission to set a limit"
if [ -e "$group/memory.swap.max" ]; then echo 0 >"$group/memory.swap.max"; fi

cd "$work"
"$vae" roundtrip -q --model tiny -o small.png
for i in 1 2 3; do cp small.png "small$i.png"; done
"$vae" grid -q --rows 4 --cols 4 -o large.png $(yes small.png | head -16)

inside() {
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$vae" "$@" 2>stderr && code=0 || code=$?
}

inside encode --model tiny --out-dir latents small1.png large.png small2.png
[ $code -eq 1 ] || fail "encode: exit code $code: $(cat stderr)"
grep -q "of the 200 MB allowed by the container" stderr || fail "encode: no limit in: $(cat stderr)"
[ -e latents/small1.safetensors ] && [ -e latents/small2.safetensors ] || fail "encode: a small picture is missing"
# Three in a row, and both directions: the memory of the pictures before must not count as used.
inside encode --model tiny --out-dir more small1.png small2.png small3.png
[ $code -eq 0 ] || fail "encode three: exit code $code: $(cat stderr)"
inside roundtrip --model tiny --out-dir more small1.png small2.png
[ $code -eq 0 ] || fail "roundtrip: exit code $code: $(cat stderr)"
inside roundtrip --model tiny large.png -o no.png
[ $code -eq 1 ] || fail "roundtrip: exit code $code: $(cat stderr)"
echo "passed: $checks checks"
