#!/usr/bin/env bash
# Render every overlay into infra/rendered, where the quick tests read it: render.sh KUBECTL
set -euo pipefail
kubectl=$(realpath -e "${1:?usage: render.sh KUBECTL}")
cd "$(dirname "$0")"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
for overlay in overlays/*/; do
    "$kubectl" kustomize "$overlay" > "$made/$(basename "$overlay").yaml"
done
# What they were rendered from: a change without a new render is seen without kubectl.
find base components overlays runtimes -type f | LC_ALL=C sort | xargs sha256sum > "$made/SOURCES"
cp "$made"/* rendered/  # all or nothing: none is kept when one does not render
