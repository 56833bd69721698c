#!/bin/sh
# Makes a virtual environment: venv.sh PYTHON FOLDER. Debian keeps what that needs in a package of
# its own (python3-venv), which is installed if it is missing.
set -eu
python=$1 folder=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "$python is missing or older than 3.10; try make PYTHON=/path/to/python3.10" >&2
    exit 1
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
sh "$(dirname "$0")/need.sh" "@$python=python$version-venv"
rm -rf "$folder"
"$python" -m venv "$folder"
