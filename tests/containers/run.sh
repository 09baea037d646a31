#!/usr/bin/env bash
# What `make test-containers` runs: engine and registry, images, push, pull by digest, the tests, stop.
#
#   OMNIVEC_BASE    base image by digest; without it a stand-in is made (base.sh)
#   SITE_PIP_CONF   a site's pip.conf, and what else infra/images/build.py takes from the environment
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

# Without a bridge (engine.sh) a build has the machine's network or none.
ENGINE=$docker REGISTRY=$OMNIVEC_REGISTRY BASE=$base SITE_CA=${SITE_CA-${PIP_CERT:-${SSL_CERT_FILE:-}}} \
    BUILD_ARGS="--network=host ${BUILD_ARGS:-}" "$python" infra/images/build.py pipeline --push
read -r id digest < <("$python" -c 'import json; b = json.load(open("dist/images.json"))["pipeline"]; print(b["id"], b["digest"])')
# Away with it here, under all of its names, so that what the tests use has come out of the registry.
"$docker" image rm --force "$id" >/dev/null
"$docker" pull --quiet "$digest"

OMNIVEC_STEP_IMAGE=$digest OMP_NUM_THREADS=1 "$python" -m pytest tests/containers -m "${SELECT:-container and not minutes}"
