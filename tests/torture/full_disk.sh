#!/usr/bin/env bash
# Fills the disk under an output folder, and checks what is left there.
#
#   tests/torture/full_disk.sh [VAE]     (target/release/vae by default)
#
# The folder is a tmpfs of 300 KB. It proves, for `--out-dir`, `--out-dir --overwrite` and `-o`, that a full disk ends the
# run with an error that names it and not with one error for each input; that every file is whole, that files which
# existed keep their content, and that nothing else is left; and that a second run with enough space completes the folder.
# Needs bash, coreutils, diffutils, util-linux and python3, and root or user namespaces for the mount: without them, it
# prints `skipped`. Exits with 1 if anything is wrong.
set -euo pipefail
here=$(dirname "$(realpath "$0")")

if [ "${1:-}" != --inside ]; then
    vae=$(realpath "${1:-target/release/vae}")
    probe='mount -t tmpfs -o size=300k none /mnt'
    if ! unshare --map-root-user --mount bash -c "$probe" 2>/dev/null; then
        echo "skipped: 3 runs on a full disk (no permission to mount)"
        exit 0
    fi
    exec unshare --map-root-user --mount bash "$here/full_disk.sh" --inside "$vae"
fi

vae=$2
work=$(mktemp -d)
trap 'umount "$work/disk" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache
encode=("$vae" encode --model tiny --quiet)
"$here/pictures.py" pictures 40 256 256
"${encode[@]}" --out-dir whole pictures/*
"${encode[@]}" --mean --out-dir old pictures/*
mkdir disk
mount -t tmpfs -o size=300k none disk

wrong=0
fail() {
    echo "wrong: $1"
    wrong=$((wrong + 1))
}

# Checks the exit code and the messages of a run that the full disk has ended.
check_error() {
    local name=$1 code=$2 messages=$3 lines
    [ "$code" -ne 0 ] || fail "$name: exit code 0"
    [ "$code" -lt 128 ] || fail "$name: exit code $code"
    grep -Eqi 'no space|disk is full' "$messages" || fail "$name: the error does not name the reason: $(head -n 3 "$messages")"
    lines=$(grep -Eci 'no space|disk is full' "$messages" || true)
    [ "$lines" -le 2 ] || fail "$name: $lines messages for one reason"
    ! grep -q panicked "$messages" || fail "$name: a panic"
}

# Checks that every entry of a folder is a file that is equal to the one in another folder. Sets `count`.
check_files() {
    local name=$1 folder=$2 wanted=$3 file
    count=0
    while IFS= read -r -d '' file; do
        count=$((count + 1))
        cmp --quiet "$file" "$wanted/$(basename "$file")" || fail "$name: $(basename "$file") is not whole, or a leftover"
    done < <(find "$folder" -mindepth 1 -print0)
}

# 1. A new folder.
code=0
"${encode[@]}" --out-dir disk/new pictures/* >messages 2>&1 || code=$?
check_error "new folder" "$code" messages
check_files "new folder" disk/new whole
[ "$count" -gt 0 ] && [ "$count" -lt 40 ] || fail "new folder: $count of 40 files"
echo "new folder: $count of 40 files are whole, exit code $code"
mount -o remount,size=4m disk
"${encode[@]}" --out-dir disk/new pictures/* || fail "new folder: the second run ends with $?"
diff -r whole disk/new >/dev/null || fail "new folder: the second run gives another folder"
umount disk

# 2. Files that exist, made with other options, are to be replaced.
mount -t tmpfs -o size=300k none disk
mkdir disk/old
cp old/000[0-7]* disk/old
head -c 1000000 /dev/zero >disk/ballast 2>/dev/null || true
code=0
"${encode[@]}" --overwrite --out-dir disk/old pictures/000[0-7]* >messages 2>&1 || code=$?
check_error "existing files" "$code" messages
check_files "existing files" disk/old old
[ "$count" -eq 8 ] || fail "existing files: $count of 8 are left"
echo "existing files: $count of 8 have their content, exit code $code"

# 3. One named file that exists.
code=0
"${encode[@]}" -o disk/old/0000.safetensors pictures/0000.bmp >messages 2>&1 || code=$?
check_error "named file" "$code" messages
check_files "named file" disk/old old
[ "$count" -eq 8 ] || fail "named file: $count of 8 are left"
echo "named file: it has its content, exit code $code"

echo "$wrong wrong"
[ "$wrong" -eq 0 ]
