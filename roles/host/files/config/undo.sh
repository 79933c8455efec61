#!/bin/sh
# arm: keep what SSH and the firewall are like, and start the timer. armed COMMAND: go on only while that waits.
# confirm: it may stay. undo: as it was before, by the timer. back: the same by who sees that it must not stay.
set -eu
kept=/var/lib/landfall/undo
files='/etc/ssh/sshd_config.d/00-landfall.conf /etc/landfall/firewall.nft'

restore() {
  number=0
  for file in $files; do
    number=$((number + 1))
    if [ -e "$kept/$number" ]; then
      cp -p "$kept/$number" "$file.before"
      mv "$file.before" "$file"
    else
      rm -f "$file"
    fi
  done
  if sshd -t; then systemctl try-reload-or-restart ssh.service || true; fi
  if [ -e /etc/landfall/firewall.nft ]; then
    nft -f /etc/landfall/firewall.nft || true
  else
    systemctl disable --quiet --now landfall-firewall-watch.timer landfall-firewall.service 2>/dev/null || true
    nft delete table inet landfall 2>/dev/null || true
  fi
  sync
}

# Seconds that no change of the clock moves
uptime() {
  read -r seconds _idle </proc/uptime
  echo "${seconds%.*}"
}

undo() {
  [ -e "$kept/pending" ] || return 0
  restore
  mv "$kept/pending" "$kept/undone"
  sync
  echo 'put SSH and the firewall back as they were: nobody confirmed the change'
}

still() {
  [ -e "$kept/pending" ] || { echo 'the change was undone already' >&2; exit 1; }
}

# A confirmation in the middle of an undo comes after it
exec 9>"$kept.lock"
flock 9

case $1 in
arm)
  rm -f "$kept/undone"
  undo
  rm -rf "$kept.new"
  mkdir -p -m 0700 "$kept.new"
  number=0
  for file in $files; do
    number=$((number + 1))
    if [ -e "$file" ]; then cp -p "$file" "$kept.new/$number"; fi
  done
  uptime >"$kept.new/began"
  touch "$kept.new/pending"
  rm -rf "$kept"
  mv "$kept.new" "$kept"
  sync
  systemctl restart landfall-undo.timer
  ;;
armed)
  still
  shift
  "$@"
  ;;
confirm)
  still
  rm -f "$kept/pending"
  systemctl stop landfall-undo.timer
  ;;
undo) undo ;;
back)
  if [ -e "$kept/undone" ]; then
    echo "the change was undone already, $(($(uptime) - $(cat "$kept/began"))) s after it began"
  fi
  # Also what was changed after the undo
  if [ -e "$kept/pending" ] || [ -e "$kept/undone" ]; then restore; fi
  rm -f "$kept/pending" "$kept/undone"
  ;;
*) echo 'usage: undo arm|armed COMMAND|confirm|undo|back' >&2; exit 2 ;;
esac
