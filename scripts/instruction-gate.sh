#!/usr/bin/env bash
# Counts the instructions of the codec's hot operations and compares them with the checked-in budget.
#
#   scripts/instruction-gate.sh            count and compare
#   scripts/instruction-gate.sh --update   write what was counted into the budget
#
# Needs valgrind (Debian: valgrind, libc6-dbg) and installs nothing. The cost of one operation is the difference
# between a long and a short run divided by their rounds, so start-up does not count. Budgets are for x86-64.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

budget=crates/iso8583/benches/instruction-budget.txt
tolerance_percent=3 # the compiler's patch releases move the counts a little
short=1000
long=3000

fail() { printf 'scripts/instruction-gate.sh: %s\n' "$*" >&2; exit 1; }

update=no
case "${1:-}" in
    "") ;;
    --update) update=yes ;;
    *) fail "unknown argument $1; see the head of this file" ;;
esac

command -v valgrind >/dev/null || fail "valgrind is missing (Debian: apt-get install valgrind libc6-dbg)"
[ "$(uname -m)" = x86_64 ] || fail "the budget holds for x86_64, this is $(uname -m)"

# The budget is for the profile of Cargo.toml, whatever the environment makes of it elsewhere.
env -u CARGO_PROFILE_RELEASE_LTO -u CARGO_PROFILE_RELEASE_CODEGEN_UNITS -u CARGO_PROFILE_RELEASE_DEBUG \
    cargo build --quiet --release --locked -p iso8583 --example codec_gate
program="${CARGO_TARGET_DIR:-target}/release/examples/codec_gate"
[ -x "$program" ] || fail "$program was not built"

# Instructions of a run with so many rounds.
count() {
    local log
    log="$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1)" ||
        fail "valgrind did not run the program: $log"
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$log"
}

over=0
lines=()
while read -r operation allowed; do
    case "$operation" in "" | "#"*) continue ;; esac
    first="$(count "$operation" "$short")"
    second="$(count "$operation" "$long")"
    [ -n "$first" ] && [ -n "$second" ] || fail "valgrind printed no count for $operation"
    used=$(((second - first) / (long - short)))
    limit=$((allowed + allowed * tolerance_percent / 100))
    verdict=ok
    if [ "$used" -gt "$limit" ]; then
        verdict="OVER the limit of $limit"
        over=1
    elif [ "$used" -lt $((allowed - allowed * tolerance_percent / 100)) ]; then
        verdict="ok; cheaper than the budget, lower it with --update"
    fi
    printf '%-10s %6d instructions, budget %6d: %s\n' "$operation" "$used" "$allowed" "$verdict"
    lines+=("$operation $used")
done <"$budget"

if [ "$update" = yes ]; then
    { grep '^#' "$budget"; printf '%s\n' "${lines[@]}"; } >"$budget.new"
    mv "$budget.new" "$budget"
    echo "wrote $budget"
    exit 0
fi
[ "$over" -eq 0 ] || fail "the codec became more expensive; make it cheaper, or raise the budget with a reason"
