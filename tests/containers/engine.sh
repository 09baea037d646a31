#!/usr/bin/env bash
# A Docker engine and a registry of our own for the container tests: engine.sh start|stop|status|env [DIRECTORY]
#
# Everything lies under DIRECTORY (default: $OMNIVEC_ENGINE, else omnivec-engine under the temporary directory): images,
# sockets, pushed layers, logs. The engine of the machine, if it has one, is left alone. Needs root and the Debian
# packages docker.io and docker-registry. `env` prints what a shell needs to use it: eval "$(engine.sh env)".
set -euo pipefail
cd "$(dirname "$0")"
verb=${1:?usage: engine.sh start|stop|status|env [DIRECTORY]}
here=${2:-${OMNIVEC_ENGINE:-${TMPDIR:-/tmp}/omnivec-engine}}
address=${OMNIVEC_REGISTRY:-127.0.0.1:5000}
socket=unix://$here/docker.sock

say() { echo "$*" >&2; }

alive() {  # NAME: whether the process that we wrote down is still the one that runs
    local pid
    pid=$(cat "$here/$1.pid" 2>/dev/null) && [ -d "/proc/$pid" ] && grep -q "$2" "/proc/$pid/cmdline"
}

wait_for() {  # SECONDS COMMAND...: until it succeeds
    local left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((left--)) -gt 0 ] || return 1
        sleep 0.1
    done
}

start_engine() {
    alive dockerd dockerd && return
    # A process that was killed leaves its pid file, and dockerd does not start over one that another process has.
    rm -f "$here/docker.pid"
    local flags=(
        -H "$socket" --data-root "$here/data" --exec-root "$here/exec" --pidfile "$here/docker.pid"
        # No bridge and no firewall rules: they would outlive the engine in the machine's tables. A step has either no
        # network or the machine's (the MLflow server on loopback), so neither is missed.
        --bridge=none --iptables=false --ip-masq=false
        --storage-driver=overlay2
        # Where no systemd runs, containers get their control groups from the engine itself.
        --exec-opt native.cgroupdriver=cgroupfs
    )
    # In a mount namespace of its own every layer that is mounted goes away with the engine, however it ends.
    unshare --mount --propagation private setsid dockerd "${flags[@]}" >"$here/dockerd.log" 2>&1 &
    echo $! >"$here/dockerd.pid"
    wait_for 60 docker -H "$socket" version || { tail -20 "$here/dockerd.log" >&2; return 1; }
}

answers() {  # whether the registry does
    python3 -c "import urllib.request as u; u.urlopen('http://$address/v2/')" 2>/dev/null
}

start_registry() {
    alive registry docker-registry && answers && return
    sed -e "s|DIRECTORY|$here/registry|" -e "s|ADDRESS|$address|" registry.yml >"$here/registry.yml"
    setsid docker-registry serve "$here/registry.yml" >"$here/registry.log" 2>&1 &
    echo $! >"$here/registry.pid"
    wait_for 20 answers || { tail -20 "$here/registry.log" >&2; return 1; }
}

stop() {  # NAME PATTERN
    alive "$1" "$2" || return 0
    local pid
    pid=$(cat "$here/$1.pid")
    kill "$pid"
    wait_for 30 test ! -d "/proc/$pid" || kill -KILL "$pid"
    rm -f "$here/$1.pid"
}

case $verb in
start)
    for needed in dockerd docker docker-registry unshare; do
        command -v "$needed" >/dev/null || {
            say "$needed is not here. On Debian 12, as root: apt-get install --no-install-recommends docker.io docker-registry"
            exit 3
        }
    done
    [ "$(id -u)" = 0 ] || { say "an engine of our own needs root; or set DOCKER_HOST to one that runs"; exit 3; }
    mkdir -p "$here/registry"
    start_engine
    start_registry
    say "engine $socket, registry $address"
    ;;
stop)
    stop dockerd dockerd
    stop registry docker-registry
    ;;
status)
    alive dockerd dockerd && alive registry docker-registry
    ;;
env)
    echo "export DOCKER_HOST=$socket OMNIVEC_REGISTRY=$address"
    ;;
*)
    say "unknown verb $verb: start, stop, status or env"
    exit 2
    ;;
esac
