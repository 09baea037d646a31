#!/usr/bin/env bash
# Render every overlay into infra/rendered, where the quick tests read it: render.sh KUBECTL
set -euo pipefail
kubectl=${1:?usage: render.sh KUBECTL}
cd "$(dirname "$0")"
for overlay in overlays/*/; do
    "$kubectl" kustomize "$overlay" > "rendered/$(basename "$overlay").yaml.partial"
    mv "rendered/$(basename "$overlay").yaml.partial" "rendered/$(basename "$overlay").yaml"
done
# What they were rendered from: a change without a new render is seen without kubectl.
find base components overlays runtimes -type f | LC_ALL=C sort | xargs sha256sum > rendered/SOURCES
