#!/bin/bash
# A Docker engine for the test bed: used as it is where one answers, otherwise installed from Debian and started.
# Works without systemd as PID 1 (build machines), may be called any number of times. Log: .cache/engine/dockerd.log
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/engine
mkdir -p "$cache"

say() { printf 'engine: %s\n' "$*"; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
answers() { docker version --format '{{.Server.Version}}' 2>/dev/null; }

# Program on the left, Debian package on the right
wanted=(dockerd:docker.io mmdebstrap:mmdebstrap ssh:openssh-client ssh-keygen:openssh-client zstd:zstd
  iptables:iptables curl:curl)
missing=()
for pair in "${wanted[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
# An engine elsewhere (DOCKER_HOST, Docker's own packages) is as good as Debian's
if [ -n "$(answers)" ]; then missing=("${missing[@]/docker.io/}"); fi
read -ra missing <<<"${missing[*]}"
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || { say "needs ${missing[*]}, and there is no apt-get here to install them"; exit 1; }
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >"$cache/apt.log" 2>&1 || { tail -20 "$cache/apt.log"; exit 1; }
fi
# Debian 13 has the client in a package of its own, Debian 12 in that of the daemon
command -v docker >/dev/null || scripts/need.sh docker:docker-cli

version=$(answers) || true
if [ -z "$version" ]; then
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker
  else
    say "starting dockerd, log in .cache/engine/dockerd.log"
    # A pid file of a machine that was switched off would stop the new daemon
    if [ -f /run/docker.pid ] && ! as_root kill -0 "$(cat /run/docker.pid)" 2>/dev/null; then as_root rm -f /run/docker.pid; fi
    as_root setsid --fork /usr/sbin/dockerd --log-level warn >>"$cache/dockerd.log" 2>&1 </dev/null
  fi
  for _ in $(seq 120); do
    version=$(answers) && [ -n "$version" ] && break
    sleep 0.5
  done
fi
if [ -z "$version" ]; then
  say "does not answer within 60 s; the end of its log:"
  tail -20 "$cache/dockerd.log" 2>/dev/null
  exit 1
fi
say "Docker $version, $(docker info --format 'storage {{.Driver}}, cgroup v{{.CgroupVersion}}')"
