#!/usr/bin/env bash
# Stand-in for the image python:3.11-slim where no image registry can be reached: base.sh NAME
#
# A minimal Debian 12 with its Python 3.11, put together by debootstrap from the machine's own package source; nothing of
# the machine (certificates, pip settings) is in it. Where the real image can be pulled, use that: by its digest.
# Needs root, the Debian package debootstrap, and an engine (DOCKER_HOST).
set -euo pipefail
name=${1:?usage: base.sh NAME, such as 127.0.0.1:5000/python:3.11-slim}
command -v debootstrap >/dev/null || { echo "debootstrap is not here: apt-get install debootstrap" >&2; exit 3; }
# The first package source of this machine, whichever of the two forms it is written in.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -1)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
    bookworm "$work/root" "${mirror:-http://deb.debian.org/debian}" >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }
ln -s python3 "$work/root/usr/bin/python"
# The real image has a pip of its own, without Debian's "externally managed" mark.
rm -f "$work"/root/usr/lib/python3.11/EXTERNALLY-MANAGED
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man}
tar -C "$work/root" --numeric-owner -c . | docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["python3"]' - "$name" >/dev/null
docker push --quiet "$name" >/dev/null
docker image inspect --format '{{index .RepoDigests 0}}' "$name"
