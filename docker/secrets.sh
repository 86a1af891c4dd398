#!/bin/bash
# Makes the secrets that compose.yaml gives to its containers, in docker/secrets; those that exist stay.
# The files may be read by all, because containers have users of their own; the folder only by its owner.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

drawn() { python3 -c 'import secrets; print(secrets.token_hex(24), end="")'; }

mkdir -p secrets
chmod 700 secrets
for name in postgres prefect_database mlflow_database s3_access_key s3_secret_key prefect_auth; do
    [[ -e "secrets/$name" ]] && continue
    value="$(drawn)"
    [[ "$name" == prefect_auth ]] && value="jdn:$value"
    (umask 022 && printf '%s' "$value" >"secrets/$name")
done
echo "Prefect asks for: $PWD/secrets/prefect_auth"
