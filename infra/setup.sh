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

install_with_uv() {
    # uv does not read pip's settings: pass on those that decide where packages come from.
    "${pip[@]}" install -qq uv || return 1
    local index links certificates
    index=${PIP_INDEX_URL:-$("${pip[@]}" config get global.index-url 2>/dev/null || true)}
    links=${PIP_FIND_LINKS:-$("${pip[@]}" config get global.find-links 2>/dev/null || true)}
    certificates=${PIP_CERT:-$("${pip[@]}" config get global.cert 2>/dev/null || true)}
    UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index} UV_FIND_LINKS=${UV_FIND_LINKS:-$links} \
        SSL_CERT_FILE=${SSL_CERT_FILE:-$certificates} \
        "$venv/bin/python" -m uv pip install --quiet --python "$venv/bin/python" --no-deps -r requirements.lock
}

echo "Installing $(grep -c == requirements.lock) locked packages into $venv ..."
# The lock is complete, so nothing has to be resolved. uv fetches in parallel; pip knows every way to configure a site.
install_with_uv || "${pip[@]}" install -qq --no-deps --no-compile -r requirements.lock
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    # This machine's torch build wants more (CUDA libraries, for instance): let pip find what.
    "${pip[@]}" install -qq -r requirements.lock
fi
"${pip[@]}" install -qq --no-deps -e .
echo "Compiling them on $(nproc) cores ..."
# pip would compile on one core; a few packages ship templates that are no valid Python, which is no error.
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || true
