#!/bin/sh
# Removes a preview with its data and what leads to it: remove NAME. Of other stacks it touches nothing, and where it
# was ended on the way it may be started again.
set -eu
name=${1-}
case $name in '' | *[!a-z0-9-]*)
  echo "remove NAME: '$name' is no name of a preview" >&2
  exit 2
  ;;
esac
stack=preview-$name-landfall
root=${LANDFALL_ROOTS:-/opt}/$stack
units=${LANDFALL_UNITS:-/etc/systemd/system}
home=${LANDFALL_HOME:-/usr/local/lib/landfall-preview}
filter=label=org.landfall.stack=$stack

# Timers first, or one would start a container again
for link in "$units"/*; do
  case $(readlink "$link" || true) in "$root"/*)
    systemctl disable --quiet --now "${link##*/}"
    ;;
  esac
done
for kind in container volume network; do
  case $kind in
    container) found=$(docker container ls --all --quiet --filter "$filter") force=--force ;;
    volume) found=$(docker volume ls --quiet --filter "$filter") force= ;;
    network) found=$(docker network ls --quiet --filter "$filter") force= ;;
  esac
  for one in $found; do
    docker $kind rm $force "$one" >/dev/null
    echo "$kind $one removed"
  done
done
if [ -e "$root" ]; then
  rm -rf "$root"
  echo "$root removed"
fi
# The end's own service is what may run this
for unit in "landfall-preview-$name.socket" "landfall-preview-$name.service" "landfall-preview-$name-end.timer"; do
  if [ -e "$units/$unit" ]; then
    case $unit in *.service) systemctl stop "$unit" ;; *) systemctl disable --quiet --now "$unit" ;; esac
    rm "$units/$unit"
    echo "$unit removed"
  fi
done
rm -f "$units/landfall-preview-$name-end.service"
systemctl daemon-reload
ls "$units"/landfall-preview-*-end.timer >/dev/null 2>&1 || rm -rf "$home"
