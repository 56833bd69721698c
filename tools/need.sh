#!/bin/sh
# Installs distribution packages for commands that are missing: need.sh COMMAND=PACKAGE...
# /FILE=PACKAGE stands for a file that arm-none-eabi-gcc must find, @PYTHON=PACKAGE for what that
# Python needs to make virtual environments. With nothing missing it does nothing and needs no
# rights.
set -eu

present() {
    case $1 in
        /*) case $(arm-none-eabi-gcc -print-file-name="${1#/}" 2>/dev/null || true) in
                /*) return 0 ;;
                *) return 1 ;;
            esac ;;
        @*) "${1#@}" -c 'import ensurepip, venv' 2>/dev/null ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=
for pair in "$@"; do
    present "${pair%%=*}" || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing (Debian names):$missing. This is no Debian or Ubuntu, so install them with your" \
        "own package manager, then run make again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null 2>&1; then
    root=sudo
else
    echo "Missing:$missing. You are not root and there is no sudo; ask an administrator for:" \
        "apt-get install$missing" >&2
    exit 1
fi

echo "Installing:$missing"
apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null
}
# A mirror that cannot be reached is no reason to stop when the lists are already there.
apt update || true
# shellcheck disable=SC2086
if ! apt install --yes --no-install-recommends $missing >/dev/null; then
    echo "These packages could not be installed:$missing. Install them, then run make again." >&2
    exit 1
fi
for pair in "$@"; do
    present "${pair%%=*}" || {
        echo "${pair#*=} is installed, but ${pair%%=*} is not found; look at PATH." >&2
        exit 1
    }
done
