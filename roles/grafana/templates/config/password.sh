# Gives admin the password in /run/secrets: Grafana itself takes it in on its first start only. Run when Grafana is
# deployed, never to verify it.
set -euo pipefail
base=http://127.0.0.1:3000

# The password goes to curl on its standard input, never into a list of processes.
secret=$(</run/secrets/admin_password)
secret=${secret//\\/\\\\}
status=$(printf 'user = "admin:%s"\n' "${secret//\"/\\\"}" | curl -sS -m 20 -o /dev/null -w '%{http_code}' -K - "$base/api/user")
if [ "$status" = 401 ]; then
    grafana cli --homepath /usr/share/grafana --config /etc/grafana/grafana.ini \
        admin reset-admin-password --password-from-stdin </run/secrets/admin_password >/tmp/reset 2>&1 || {
        echo "the password of admin cannot be set: $(tail -2 /tmp/reset)"
        exit 1
    }
elif [ "$status" != 200 ]; then
    echo "admin cannot sign in: $status"
    exit 1
fi
echo "password set"
