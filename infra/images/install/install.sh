#!/bin/sh
# Runs inside a build: install.sh LIST puts one list of packages into /opt/omnivec; "wheel" puts Omnivec itself there.
set -eu
list=${1:?usage: install.sh LIST}
python=/opt/omnivec/bin/python
base=$(readlink -f "$python")  # has pip; the environment has none

# How a site reaches its packages: secrets, so that nothing of them stays in a layer.
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
export PIP_CACHE_DIR=/root/.cache/pip  # a mount; HOME would put it into the layer

if [ "$list" = wheel ]; then
    "$base" -m pip --python "$python" install --quiet --no-index --no-deps --no-cache-dir /dist/*.whl
    # `omnivec bento` puts the same wheel into a Bento.
    install -D -m 0444 -t /opt/omnivec/share/omnivec /dist/*.whl
else
    set -- --requirement /pins/requirements.txt
    if [ "$list" != torch ]; then
        set -- "$@" --no-deps  # the lists are complete
    elif [ -n "${TORCH_INDEX:-}" ]; then
        set -- "$@" --index-url "$TORCH_INDEX"
    fi
    for wheel in /wheels/*.whl; do
        if [ -e "$wheel" ]; then set -- "$@" --find-links /wheels; break; fi
    done
    # Wheels only: nothing is compiled, and no package runs code of its own here. The two exceptions have none.
    PIP_CONSTRAINT=/pins/constraints.txt "$base" -m pip --python "$python" install --quiet \
        --only-binary :all: --no-binary antlr4-python3-runtime,kfp-server-api "$@"
fi

# Suites and headers that a few large packages ship are a third of a gigabyte, and nothing imports them. In the same layer
# as the packages, or they would stay in the one below.
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for package in matplotlib numpy onnx pandas pyarrow scipy sklearn statsmodels sympy torch; do
    if [ -d "$site/$package" ]; then
        find "$site/$package" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
    fi
done
rm -rf "$site/torch/include" "$site/pyarrow/include"
if [ -d "$site/torch/bin" ]; then find "$site/torch/bin" -type f ! -name torch_shm_manager -delete; fi
if [ "$list" = wheel ]; then "$base" /install/pins.py check "$python" /requirements.lock; fi
