#!/bin/bash
# clean-room.sh [COMMAND…]: the committed state of this checkout, cloned into a minimal Debian that has what README.md asks
# for and nothing else. Finds what works only because something was installed on a machine before. Default: bash .ci/run
#   SUITE=bookworm|trixie   the Debian (bookworm)
# Needs root and a Docker engine here, whose images are shared with it. How this machine reaches the world comes along:
# proxies, package indexes, certificates. What it leaves is removed, the clone only if the command succeeded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
suite=${SUITE:-bookworm}
packages=python3,make,git,ca-certificates,procps   # procps: ps, which any Debian installed by its installer has

say() { printf 'clean room: %s\n' "$*" >&2; }
case $suite in bookworm | trixie) ;; *) say "SUITE: must be bookworm or trixie, not '$suite'"; exit 2 ;; esac
[ "$(id -u)" = 0 ] || { say "must be run as root: it makes a root file system"; exit 2; }
molecule/engine.sh >&2

image=landfall-testbed/clean-room:$suite-$(printf %s "$packages" | sha256sum | cut -c1-8)
if ! docker image inspect "$image" >/dev/null 2>&1; then
  say "making a minimal Debian $suite"
  sources=$(mktemp --suffix .list)
  PYTHONPATH=molecule python3 -c "import sys; from testbed import debian; print(debian.sources(sys.argv[1]))" "$suite" >"$sources"
  mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" - "$sources" |
    docker import -c "LABEL org.landfall.source='Debian $suite, clean room'" - "$image" >/dev/null
  rm -f "$sources"
fi

# The same path inside and outside, since the engine that mounts folders is the one outside
work=$(mktemp -d "${TMPDIR:-/tmp}/clean-room.XXXXXX")
[ -z "$(git status --porcelain)" ] || say "changes that are not committed are not in it"
git clone --quiet . "$work/project"

keep=()
for file in /etc/pip.conf "$HOME"/.config/pip "$HOME"/.pip /etc/uv "$HOME"/.config/uv "$HOME"/.netrc /etc/npmrc "$HOME"/.npmrc \
  /usr/local/share/ca-certificates /etc/apt/auth.conf.d /etc/apt/keyrings \
  $(grep -ls '^ *Acquire::' /etc/apt/apt.conf.d/* || true); do
  if [ -e "$file" ]; then keep+=(--volume "$file:${file/#$HOME//root}:ro"); fi
done
# By name: their values would be seen in the list of processes. Folders of wheels lie outside the room.
while read -r name; do keep+=(--env "$name"); done < <(compgen -e | grep -vx PIP_FIND_LINKS | grep -E \
  '^(PIP_|UV_|NPM_|npm_|GO(PROXY|SUMDB|NOSUMDB|PRIVATE)$|CARGO_|SSL_CERT_|REQUESTS_CA|CURL_CA|NODE_EXTRA_CA|(https?|no|all|HTTPS?|NO|ALL)_(proxy|PROXY)$|JOBS$)')

[ $# -gt 0 ] || set -- bash .ci/run
say "Debian $suite, $(git log -1 --format='%h %s'): $*"
status=0
docker run --rm --name "landfall-clean-room-${work##*.}" --network host --volume /var/run/docker.sock:/var/run/docker.sock \
  --volume "$work:$work" --workdir "$work/project" ${keep[@]+"${keep[@]}"} --env CI=true --env TMPDIR="$work" "$image" \
  bash -c 'update-ca-certificates >/dev/null 2>&1; git config --global --add safe.directory "*"; "$@"; status=$?
    [ ! -e .venv/.ready ] || make clean >/dev/null 2>&1; exit $status' _ "$@" || status=$?
if [ "$status" = 0 ]; then rm -rf "$work"; else say "failed ($status); its clone is left in $work/project"; fi
exit "$status"
