#!/usr/bin/env bash
# Fuzzes the targets for some minutes each, one after the other, and prints a table of what was done:
#
#     fuzz/run.sh MINUTES [TARGET...]
#
# Needs a nightly toolchain and cargo-fuzz. The corpus grows in corpus/TARGET; the log is target/TARGET.log; what crashes
# is written into artifacts/TARGET. Exits with 1 if anything crashed. PARALLEL=2 runs two targets at a time.
set -euo pipefail
cd "$(dirname "$0")"

[[ ${1:-} =~ ^[0-9]+$ ]] || { sed -n '2,7s/^# \?//p' "$0" >&2; exit 2; }
minutes=$1
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(latents checkpoint pickle picture inspect hub)

cp ../Cargo.lock Cargo.lock
export RUSTFLAGS="--cfg vae_heap_maps" # feature maps at their exact length
# The C code too. Its global variables are left out: gcc and LLVM describe them differently.
[[ $(uname -sm) = "Linux x86_64" && $(cc --version) = *"Free Software"* ]] && export CFLAGS="-fsanitize=address --param asan-globals=0 -fno-omit-frame-pointer"
nice -n 19 cargo +nightly fuzz build --fuzz-dir .
fuzz=$(ls -t target/*/release/fuzz | head -n 1)

# No user's settings, no proxies, and no cache of the user.
for name in $(compgen -e | grep -Ei '^hf_|^hugging|_proxy$|^rust_backtrace$'); do unset "$name"; done
memory=/dev/shm
[ -w "$memory" ] || memory=${TMPDIR:-/tmp}
work=$(mktemp -d -p "$memory")
trap 'rm -rf "$work"' EXIT
mkdir "$work/tmp"
export HOME=$work XDG_CACHE_HOME=$work/cache TMPDIR=$work/tmp RAYON_NUM_THREADS=1

# Prints nothing: the output is in the log.
fuzz_one() {
    local target=$1 silent=0 leaks=1
    mkdir -p "corpus/$target" "artifacts/$target"
    [ "$target" = inspect ] && silent=3 # the command prints
    [ "$target" = hub ] && leaks=0 # the server's threads can outlive a run by a moment
    TARGET=$target nice -n 19 "$fuzz" "corpus/$target" "seeds/$target" -dict="dict/$target.dict" \
        -artifact_prefix="artifacts/$target/" -max_total_time=$((minutes * 60)) -timeout=60 -rss_limit_mb=4096 \
        -max_len=16384 -detect_leaks=$leaks -close_fd_mask=$silent -print_final_stats=1 >"target/$target.log" 2>&1
}

failed=0
running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "${PARALLEL:-1}" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz_one "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done

# Coverage: edges with the seeds alone, and at the end.
printf '| target | seconds | executions | coverage first → last | corpus | crashes |\n| --- | --- | --- | --- | --- | --- |\n'
for target in "${targets[@]}"; do
    log=target/$target.log
    coverage() { grep -oE 'cov: [0-9]+' "$log" | "$1" -n 1 | cut -d ' ' -f 2; }
    printf '| %s | %s | %s | %s → %s | %s | %s |\n' "$target" \
        "$(grep -oE 'in [0-9]+ second' "$log" | cut -d ' ' -f 2 || echo '?')" \
        "$(grep -oE 'number_of_executed_units: [0-9]+' "$log" | cut -d ' ' -f 2)" \
        "$(grep INITED "$log" | grep -oE 'cov: [0-9]+' | cut -d ' ' -f 2)" "$(coverage tail)" \
        "$(find "corpus/$target" -type f | wc -l)" "$(find "artifacts/$target" -type f | wc -l)"
done
exit "$failed"
