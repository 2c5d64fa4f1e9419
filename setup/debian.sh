#!/bin/sh
# Sees to it that programs are there: `debian.sh PROGRAM=PACKAGE ...` installs the Debian packages of those that are missing.
# A program may be a Python module, written as python:MODULE.
set -eu

missing=""
for pair in "$@"; do
    program=${pair%%=*}
    package=${pair#*=}
    case $program in
        python:*) python3 -c "import ${program#python:}" 2>/dev/null || missing="$missing $package" ;;
        *) command -v "$program" >/dev/null 2>&1 || missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "error: please install what is missing here (the names are Debian's packages):$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing"
# Another installation may be under way, and a mirror may fail once.
options="-o DPkg::Lock::Timeout=300 -o Acquire::Retries=5"
# shellcheck disable=SC2086 # one word for each option
apt-get update -qq $options
# shellcheck disable=SC2086 # one word for each option and package
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $options --no-install-recommends $missing >/dev/null
