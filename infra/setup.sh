#!/usr/bin/env bash
# Make the virtual environment and install the locked packages: setup.sh DIRECTORY
# Package sources are whatever this machine's pip is set up for; nothing about them is in the repository.
set -euo pipefail
venv=${1:?usage: setup.sh DIRECTORY}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Omnivec needs Python 3.11, and neither python3.11 nor python3 is one." >&2
    echo "On Debian 12: apt-get install python3 python3-venv; elsewhere set PYTHON=/path/to/python3.11." >&2
    return 1
}

make_venv() {
    local python=$1
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        # Debian splits ensurepip off into python3-venv; its pip can still fill an environment without it.
        "$python" -m venv --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install -qq pip
    else
        echo "$python has neither ensurepip nor pip, so no virtual environment can be made." >&2
        echo "On Debian 12: apt-get install python3-venv. Without root: get pip for your user, then run make again." >&2
        return 1
    fi
}

python=$(find_python)
[ -x "$venv/bin/python" ] || make_venv "$python"
pip=("$venv/bin/python" -m pip)

echo "Installing $(grep -c == requirements.lock) locked packages into $venv ..."
# The lock is complete, so nothing has to be resolved.
"${pip[@]}" install -qq --no-deps --no-compile -r requirements.lock
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    # This machine's torch build wants more (CUDA libraries, for instance): let pip find what.
    "${pip[@]}" install -qq -r requirements.lock
fi
"${pip[@]}" install -qq --no-deps -e .
echo "Compiling them on $(nproc) cores ..."
# pip would compile on one core; a few packages ship templates that are no valid Python, which is no error.
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || true
