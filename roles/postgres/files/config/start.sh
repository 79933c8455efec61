# Starts the server, after making its data where there is none: whole or not at all, since what a first start that was
# killed left is begun anew.
set -eu
umask 077
if [ -s /var/lib/postgresql/data/PG_VERSION ]; then
    echo "the volume holds data that another deployment made; see docs/operations/postgres.md" >&2
    exit 1
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA.new"
    # Text sorts by its code points, the same in every image: no index breaks with a new C library
    initdb --pgdata="$PGDATA.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 --data-checksums \
        --auth-local=peer --auth-host=reject
    mv "$PGDATA.new" "$PGDATA"
    sync
fi
exec postgres -c config_file=/etc/postgres/postgresql.conf
