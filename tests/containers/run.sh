#!/usr/bin/env bash
# What `make test-containers` runs: engine and registry, images, push, pull by digest, the tests, stop.
#
#   OMNIVEC_BASE    base image by digest; without it a stand-in is made (base.sh)
#   OMNIVEC_BUILD   further flags of `docker build`, such as --secret id=pip,src=pip.conf for a site's package source
#   OMNIVEC_ENGINE  directory of the engine; layers in it make the next time quick
#   SELECT          which tests, for pytest -m; default: container and not minutes
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=tests/containers
python=${PYTHON:-.venv/bin/python}

missing=()
for pair in dockerd:docker.io docker-registry:docker-registry debootstrap:debootstrap runc:runc; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || { echo "as root: apt-get install --no-install-recommends ${missing[*]}" >&2; exit 3; }
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# A client that builds with BuildKit: Debian's has it in itself, newer ones need the plugin buildx.
export DOCKER_BUILDKIT=1
docker=$(for candidate in docker /usr/bin/docker; do
    if "$candidate" build --help 2>/dev/null | grep -q -- --secret; then echo "$candidate"; break; fi
done)
[ -n "$docker" ] || { echo "no docker client here builds with BuildKit: install docker.io or buildx" >&2; exit 3; }

trap '$tools/engine.sh stop' EXIT
"$tools/engine.sh" start
eval "$("$tools/engine.sh" env)"

base=${OMNIVEC_BASE:-}
if [ -z "$base" ]; then
    name=$OMNIVEC_REGISTRY/python:3.11-slim
    base=$("$docker" image inspect --format '{{index .RepoDigests 0}}' "$name" 2>/dev/null) || base=$("$tools/base.sh" "$name")
fi

certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
image=$OMNIVEC_REGISTRY/omnivec-pipeline:test
echo "building the steps' image on $base ..." >&2
# shellcheck disable=SC2086 # flags are meant to be split
"$docker" build --network host --quiet --file infra/images/Containerfile --target pipeline --build-arg BASE="$base" \
    ${certificates:+--secret id=ca,src="$certificates"} ${OMNIVEC_BUILD:-} --tag "$image" . >/dev/null

"$docker" push --quiet "$image" >/dev/null
digest=$("$docker" image inspect --format '{{index .RepoDigests 0}}' "$image")
"$docker" image rm "$image" "$digest" >/dev/null 2>&1 || true
"$docker" pull --quiet "$digest"

OMNIVEC_STEP_IMAGE=$digest OMP_NUM_THREADS=1 "$python" -m pytest tests/containers -m "${SELECT:-container and not minutes}"
