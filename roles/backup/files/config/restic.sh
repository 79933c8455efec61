# The entry point of restic's containers: what all verbs have in common. The verb open proves that the repository can be
# read with this key, and makes one where there is none.
set -eu
# restic often ends before it has passed on what ssh said of its end, so ssh writes to a file, whole before restic ends
restic() {
    ended=0
    # shellcheck disable=SC2086 # several words
    command restic --retry-lock=2m $LANDFALL_LIMITS -o "sftp.args=-i /run/secrets/ssh_key -o BatchMode=yes \
-o UserKnownHostsFile=/etc/backup/known_hosts -o StrictHostKeyChecking=yes -o ConnectTimeout=20 -o LogLevel=ERROR \
-E /tmp/ssh" "$@" || ended=$?
    if [ "$ended" != 0 ] && [ -s /tmp/ssh ]; then
        cat /tmp/ssh >&2
    fi
    return "$ended"
}
if [ "$1" != open ]; then
    restic "$@"
    exit
fi
# What cannot be reached is tried for a quarter of an hour, for which nobody who deploys would wait
restic cat config >/dev/null 2>/tmp/said &
asked=$!
for _ in $(seq 60); do
    kill -0 "$asked" 2>/dev/null || break
    sleep 1
done
if kill "$asked" 2>/dev/null; then
    echo "backup_repository: the target did not answer in a minute; is its server up, and its name and port right?" \
        "$(cat /tmp/said /tmp/ssh 2>/dev/null | tail -n 1)" >&2
    exit 1
fi
status=0
wait "$asked" || status=$?
case $status in
0) echo "the repository is there and opens with this key" ;;
10)
    restic init --quiet
    echo "made a new repository"
    ;;
12)
    echo "backup_password: does not open the repository, which was made with another one; restore" \
        "secrets/host_vars/<host>/backup_password as it was, or name a new backup_repository" >&2
    exit 1
    ;;
*)
    cat /tmp/said >&2
    echo "backup_repository: cannot be opened (restic ended with $status)" >&2
    exit 1
    ;;
esac
