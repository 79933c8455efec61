#!/bin/sh
# What upstream's entry point does, as far as tests use it: an empty folder gets a cluster whose superuser has the
# password of POSTGRES_PASSWORD_FILE, then scripts of /docker-entrypoint-initdb.d, before anybody else may connect.
set -e
if [ "${1#-}" != "$1" ]; then set -- postgres "$@"; fi
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" && chown -R postgres:postgres "$PGDATA" && chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  POSTGRES_USER="${POSTGRES_USER:-postgres}" POSTGRES_DB="${POSTGRES_DB:-${POSTGRES_USER:-postgres}}"
  export POSTGRES_USER POSTGRES_DB
  initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  shift
  pg_ctl --wait --options "-c listen_addresses='' $(printf '%s ' "$@")" start
  if [ "$POSTGRES_DB" != postgres ]; then createdb --username="$POSTGRES_USER" "$POSTGRES_DB"; fi
  for script in /docker-entrypoint-initdb.d/*.sh; do
    if [ -f "$script" ]; then . "$script"; fi
  done
  pg_ctl --wait --mode fast stop
  set -- postgres "$@"
fi
case "$*" in *listen_addresses*) ;; "postgres"*) set -- "$@" -c "listen_addresses=*" ;; esac
exec "$@"
