# Refuses, before anything changes, what the new image could not start with: data of another major version, settings
# that it does not know, libraries and extensions that it does not have.
set -eu
major=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
if [ -s /var/lib/postgresql/data/PG_VERSION ]; then
    echo "postgres_volume: the volume holds data that another deployment made, which would not be used; name another" \
        "volume and load a dump into it (docs/operations/postgres.md)" >&2
    exit 1
fi
if [ -s "$PGDATA/PG_VERSION" ]; then
    data=$(cat "$PGDATA/PG_VERSION")
    if [ "$data" != "$major" ]; then
        echo "postgres_image: is PostgreSQL $major, but the volume holds data of PostgreSQL $data, which it cannot read;" \
            "keep an image of PostgreSQL $data, or move the data to a new volume (docs/operations/postgres.md)" >&2
        exit 1
    fi
fi
mkdir /tmp/none
postgres -D /tmp/none -c config_file=/etc/postgres/postgresql.conf -C max_connections >/tmp/said 2>&1 || {
    echo "postgres_settings: PostgreSQL $major refuses its settings: $(cat /tmp/said)" >&2
    exit 1
}
libraries=/usr/lib/postgresql/$major/lib
for name in $(sed -n "s/^shared_preload_libraries = '\(.*\)'/\1/p" /etc/postgres/start.conf | tr , ' '); do
    [ ! -d "$libraries" ] || [ -e "$libraries/$name.so" ] || {
        echo "postgres_preload: the image has no library $name; choose an image that has it" >&2
        exit 1
    }
done
extensions=/usr/share/postgresql/$major/extension
touch /tmp/wanted
[ ! -e /etc/postgres/apply-extensions ] || cp /etc/postgres/apply-extensions /tmp/wanted
while read -r database name; do
    [ ! -d "$extensions" ] || [ -e "$extensions/$name.control" ] || {
        echo "postgres_databases: the image has no extension $name, which $database asks for; choose an image that has" \
            "it, or one of: $(cd "$extensions" && ls -- *.control | sed 's/\.control$//' | tr '\n' ' ')" >&2
        exit 1
    }
done </tmp/wanted
