# Brings databases, users, extensions and passwords to what the inventory says (wanted.json), and tells what it names no
# more; with the argument look it changes nothing and fails where something differs. Runs in the server's container.
set -eu
umask 077
exec 3>&1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tab=$(printf '\t')
look=${1:-}
failed=78 # EX_CONFIG: trying again will not help
# Nothing of what it does is kept in the log or in statistics
quiet='-c log_min_duration_statement=-1 -c log_min_error_statement=panic -c pg_stat_statements.track=none'

run() {
    PGOPTIONS=$quiet psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 --username=postgres \
        "$@" 2>"$work/said" || {
        cat "$work/said" >&3
        exit "$failed"
    }
}

# Whether a user can sign in with the password of the file for the client; if not, what was said.
signs_in() {
    if grep -qxF "$1" "$work/new"; then # a try would only fill the log
        echo "password authentication failed"
        return 1
    fi
    PGPASSFILE="$work/pass" psql --no-psqlrc --no-password --host=127.0.0.1 --username="$1" --dbname=postgres \
        --command='' 2>&1 </dev/null
}

pg_isready --quiet # until it answers, trying again will help
[ -n "$look" ] || run --dbname=postgres --file=/etc/postgres/apply.sql

# Passwords in a file for the client, never in a list of processes
while IFS=$tab read -r user password; do
    printf '*:*:*:%s:%s\n' "$user" "$(printf %s "$password" | sed 's/[\\:]/\\&/g')"
done </run/secrets/passwords >"$work/pass"
run --dbname=postgres --command='SELECT rolname FROM pg_authid WHERE rolpassword IS NULL' >"$work/new"
while IFS=$tab read -r user password; do
    said=$(signs_in "$user") && continue
    case $said in
    *"too many connections"* | *"remaining connection slots"*) continue ;; # which is said after the password was right
    *"password authentication failed"*) ;;
    *)
        echo "$user cannot sign in: $said"
        exit 1
        ;;
    esac
    if [ -n "$look" ]; then
        echo "$user cannot sign in with the password of the inventory"
        exit 1
    fi
    # The client asks twice, and sends what the server keeps in place of the password
    printf '%s\n%s\n' "$password" "$password" | run --dbname=postgres --command="\\password $user" >"$work/asked"
done </run/secrets/passwords

if [ -n "$look" ]; then
    run --dbname=postgres --file=/etc/postgres/apply-look.sql >"$work/found"
    if [ -s "$work/found" ]; then
        cat "$work/found"
        exit 1
    fi
else
    run --dbname=postgres --command="SELECT item ->> 'name' FROM jsonb_array_elements(
        pg_read_file('/etc/postgres/wanted.json')::jsonb -> 'databases') item" >"$work/names"
    while read -r name; do
        run --dbname="$name" --file=/etc/postgres/apply-database.sql </dev/null
    done <"$work/names"
    cp /etc/postgres/wanted.json /var/lib/postgresql/data/applied # what the health check compares
fi
echo "databases and users are as wanted"
