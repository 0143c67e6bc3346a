#!/bin/sh
# Run once by the image of PostgreSQL, as superuser, on an empty data directory: roles, database and shared schemas
# as everywhere else (bootstrap.sql, prepare.sql, pooler.sql). Can be run again.
# PG* say where; BOOTSTRAP_SQL, PREPARE_SQL, POOLER_SQL and the two password files say what.
set -eu

export PGOPTIONS="-c client_min_messages=warning"
export PGUSER="${PGUSER:-${POSTGRES_USER:-postgres}}"
bootstrap="${BOOTSTRAP_SQL:-/opt/controlplane/bootstrap.sql}"
prepare="${PREPARE_SQL:-/opt/controlplane/prepare.sql}"
pooler="${POOLER_SQL:-/opt/controlplane/pooler.sql}"
export CONTROLPLANE_PASSWORD_FILE="${CONTROLPLANE_PASSWORD_FILE:-/run/secrets/controlplane_password}"
export PGBOUNCER_PASSWORD_FILE="${PGBOUNCER_PASSWORD_FILE:-/run/secrets/pgbouncer_password}"
for file in "$bootstrap" "$prepare" "$pooler" "$CONTROLPLANE_PASSWORD_FILE" "$PGBOUNCER_PASSWORD_FILE"; do
    [ -s "$file" ] || { echo "error: $file is missing or empty" >&2; exit 1; }
done

run() { # DATABASE: run the SQL of standard input in it
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname "$1" --output /dev/null
}

section() { # NAME: the statements of one section of bootstrap.sql
    awk -v wanted="-- section: $1" '/^-- section: /{on = ($0 == wanted); next} on' "$bootstrap"
    echo ";"
}

run postgres <<'SQL'
-- Nothing that follows may keep the passwords in clear text: no log, no pg_stat_statements.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET pg_stat_statements.track = 'none';
SET pg_stat_statements.track_utility = off;
SET password_encryption = 'scram-sha-256';
SELECT format('CREATE ROLE %I', wanted)
  FROM unnest(ARRAY['controlplane', 'cp_tenants', 'cp_pooler']) AS wanted
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) \gexec
\set controlplane_password `cat "$CONTROLPLANE_PASSWORD_FILE"`
\set pgbouncer_password `cat "$PGBOUNCER_PASSWORD_FILE"`
ALTER ROLE controlplane PASSWORD :'controlplane_password';
ALTER ROLE cp_pooler PASSWORD :'pgbouncer_password';
SQL
section roles | run postgres
run postgres <<'SQL'
SELECT 'CREATE DATABASE controlplane OWNER controlplane'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'controlplane') \gexec
SQL
section cluster | run postgres
section database | run controlplane
section template1 | run template1
for database in controlplane template1; do
    run "$database" <"$prepare"
    section functions | run "$database"
    run "$database" <"$pooler"
done
