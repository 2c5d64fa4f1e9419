#!/usr/bin/env bash
# Runs a command of a test target: `logged.sh TARGET COMMAND ...`. With LOGS set (`make test`), its output is kept there, too,
# so that `summary.sh` can say at the end which tests failed.
set -uo pipefail
target=$1
shift
if [ -z "${LOGS:-}" ]; then
    exec "$@"
fi
mkdir -p "$LOGS"
began=$SECONDS
"$@" 2>&1 | tee -a "$LOGS/$target.log"
code=${PIPESTATUS[0]}
printf '%s\t%s\t%s\n' "$target" "$code" "$((SECONDS - began))" >>"$LOGS/ended"
exit "$code"
