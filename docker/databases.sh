#!/bin/bash
# Run once by PostgreSQL's image, on an empty volume: a database for each server, with an owner of its own.
set -euo pipefail

for name in prefect mlflow; do
    file="${JDN_SECRETS:-/run/secrets}/${name}_database"
    password="$(<"$file")"
    psql --set=ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname postgres \
        --set=name="$name" --set=password="$password" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
