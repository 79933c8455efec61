#!/bin/sh
# arm: keep what SSH and the firewall are like, and start the timer. confirm: it may stay. undo: as it was before.
set -eu
kept=/var/lib/landfall/undo
files='/etc/ssh/sshd_config.d/00-landfall.conf /etc/landfall/firewall.nft'

undo() {
  [ -e "$kept/pending" ] || return 0
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
  rm -f "$kept/pending"
  sync
  echo 'put SSH and the firewall back as they were: nobody confirmed the change'
}

case $1 in
arm)
  undo
  rm -rf "$kept.new"
  mkdir -p -m 0700 "$kept.new"
  number=0
  for file in $files; do
    number=$((number + 1))
    if [ -e "$file" ]; then cp -p "$file" "$kept.new/$number"; fi
  done
  touch "$kept.new/pending"
  rm -rf "$kept"
  mv "$kept.new" "$kept"
  sync
  systemctl restart landfall-undo.timer
  ;;
confirm)
  [ -e "$kept/pending" ] || { echo 'the change was undone already' >&2; exit 1; }
  rm -f "$kept/pending"
  systemctl stop landfall-undo.timer
  ;;
undo) undo ;;
*) echo 'usage: undo arm|confirm|undo' >&2; exit 2 ;;
esac
