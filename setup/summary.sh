#!/usr/bin/env bash
# What `make test` ends with: `summary.sh LOGS TARGET ...` lists how each target ended, and which tests failed.
set -uo pipefail
logs=$1
shift
echo
echo "How the tests ended:"
for target in "$@"; do
    lines=$(grep -P "^$target\t" "$logs/ended" 2>/dev/null)
    seconds=$(awk '{ sum += $3 } END { print sum + 0 }' <<<"$lines")
    if [ -z "$lines" ]; then
        echo "  $target: FAILED before its tests ran (see above)"
    elif awk '$2 != 0 { bad = 1 } END { exit !bad }' <<<"$lines"; then
        echo "  $target: FAILED after $seconds s"
        grep -aE '^(FAILED|ERROR|WRONG|seed|not well) ?|^test .* FAILED$|^    [a-z_0-9]+(::[a-z_0-9]+)+$|panicked at|Timeout' "$logs/$target.log" | sort -u | head -40 | sed 's/^/      /'
        echo "    its last lines:"
        tail -n 12 "$logs/$target.log" | sed 's/^/      /'
    else
        echo "  $target: passed after $seconds s"
    fi
done
