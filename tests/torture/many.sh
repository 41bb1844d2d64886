#!/usr/bin/env bash
# Encodes 3000 pictures of 64×64 pixels in one run, with the built-in model.
#
#   tests/torture/many.sh [VAE] [PICTURES]     (target/release/vae, 3000 pictures)
#
# It proves that memory and the number of descriptors are the same after a sixth, a half and all of the pictures (within
# 10 % and 2), that the kernel takes less than MAX_SYSTEM (10) percent of the CPU time, that the number of page faults per
# picture is small, and that a second run over the finished folder changes no file. It prints the figures, and the time of both
# runs. On ext4, the kernel looks for a free inode much longer after many files were deleted, as by an earlier run of this script:
# set TMPDIR to a folder on a fresh file system or in memory. Needs Linux, bash, coreutils, gawk or mawk, and python3. Exits with 1 if anything is wrong.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
vae=$(realpath "${1:-target/release/vae}")
pictures=${2:-3000}
max_system=${MAX_SYSTEM:-10}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache

wrong=0
fail() {
    echo "wrong: $1"
    wrong=$((wrong + 1))
}

"$here/pictures.py" pictures "$pictures" 64 64
mkfifo results input

# Runs the program in the background, with its results in the pipe, its process id in `pid` and its times in `times`. The last
# input is $1 on stdin.
start() {
    local TIMEFORMAT='%R %U %S'
    {
        time bash -c 'echo $$ >pid; exec "$@" >results 2>messages' bash \
            "$vae" encode --model tiny --quiet --json --out-dir out pictures/* - <"$1"
    } 2>times &
}

declare -A memory descriptors faults
first=$((pictures / 6)) middle=$((pictures / 2)) last=$pictures
start input
exec 3>input # the program waits for its last input until it is measured
count=0
while read -r _; do
    count=$((count + 1))
    case $count in
    "$first" | "$middle" | "$last")
        process=/proc/$(cat pid)
        memory[$count]=$(awk '/^VmRSS/ {print $2}' "$process/status")
        descriptors[$count]=$(find "$process/fd" -mindepth 1 | wc -l)
        faults[$count]=$(sed 's/.*) //' "$process/stat" | cut -d ' ' -f 8)
        echo "after $count pictures: ${memory[$count]} kB, ${descriptors[$count]} descriptors, ${faults[$count]} page faults"
        ;;
    esac
    if [ "$count" -eq "$last" ]; then
        cat pictures/0000.bmp >&3
        exec 3>&-
    fi
done <results
wait $! || fail "the first run ends with $?: $(head -n 3 messages)"
read -r real user system <times
[ "$count" -eq $((pictures + 1)) ] || fail "$count results"
[ "$(find out -type f | wc -l)" -eq $((pictures + 1)) ] || fail "$(find out -type f | wc -l) files"

[ -n "${memory[$last]:-}" ] || { echo "wrong: the run ended before it was measured"; exit 1; }
awk -v a="${memory[$first]}" -v b="${memory[$middle]}" -v c="${memory[$last]}" 'BEGIN {
    least = a < b ? a : b; least = least < c ? least : c
    most = a > b ? a : b; most = most > c ? most : c
    exit !(most <= 1.1 * least)
}' || fail "memory is not flat"
[ $((descriptors[$last] - descriptors[$first])) -le 2 ] || fail "descriptors are not closed"

share=$(awk -v u="$user" -v s="$system" 'BEGIN {printf "%.1f", 100 * s / (u + s)}')
each=$(((faults[$last] - faults[$first]) / (last - first)))
echo "first run: $real s; CPU time: user $user s, system $system s, $share % in the kernel; $each page faults a picture"
awk -v share="$share" -v max="$max_system" 'BEGIN {exit !(share < max)}' || fail "$share % of the CPU time in the kernel"

find out -type f -printf '%p %s %T@ %i\n' | sort >before
start pictures/0000.bmp
cat results >/dev/null
wait $! || fail "the second run ends with $?: $(head -n 3 messages)"
read -r real user system <times
find out -type f -printf '%p %s %T@ %i\n' | sort | cmp --quiet before || fail "the second run changed files"
echo "second run, all files exist: $real s; CPU time: user $user s, system $system s"

echo "$wrong wrong"
[ "$wrong" -eq 0 ]
