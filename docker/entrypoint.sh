#!/bin/sh
# Starts a container's command; of each variable below, NAME_FILE may name a file that holds its value, so that
# no secret stands in a compose file, in `docker inspect` or in a command line.
set -eu

for name in PGPASSWORD PREFECT_API_AUTH_STRING PREFECT_SERVER_API_AUTH_STRING AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
    eval "file=\${${name}_FILE:-}"
    [ -n "$file" ] || continue
    if [ ! -r "$file" ]; then
        echo "ERROR 66 $file: user $(id -u) cannot read the secret that ${name}_FILE names" >&2
        exit 66
    fi
    value="$(cat "$file")"
    export "$name=$value"
    unset "${name}_FILE"
done

exec "$@"
