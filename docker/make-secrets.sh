#!/bin/sh
# Makes docker/secrets/ with random secrets for compose.yaml. What exists is kept: run it again at any time.
#   docker/make-secrets.sh [DIRECTORY]
# The directory is 0700: on this host nobody but its owner (and root) gets in. The files in it are 0444, since
# Compose mounts each as it is, and the programs in the containers run under accounts that do not exist here.
set -eu
umask 077
directory="${1:-$(dirname "$0")/secrets}"
mkdir -p "$directory"
chmod 0700 "$directory"
cd "$directory"

random() { # BYTES: in URL-safe base64
    head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'
}

password() {
    random 33 # a multiple of three: no padding
}

keep() { # NAME VALUE: write the file unless there is one
    if [ ! -s "$1" ]; then
        printf '%s\n' "$2" >"$1.new"
        chmod 0444 "$1.new"
        mv "$1.new" "$1"
        echo "made $directory/$1"
    fi
}

keep postgres_password "$(password)"
keep controlplane_password "$(password)"
keep pgbouncer_password "$(password)"
keep redis_password "$(password)"
keep secret_key "$(random 48)"
# 32 bytes in base64: a Fernet key. To rotate put a new one in front, separated by a comma.
keep field_encryption_keys "$(random 32)"
# Any 32 bytes in base64 are an Ed25519 key.
keep audit_signing_key "$(random 32)"
# To rotate put a new one in front, separated by a comma; backups need the old one as long as they are kept.
keep backup_encryption_keys "first:$(random 32)"
# What Prometheus shows to the web server, and the password of Grafana's `admin` (profile `monitoring`).
keep metrics_token "$(password)"
keep grafana_password "$(password)"
# The same passwords in the form each program reads.
keep database_url "postgres://controlplane:$(cat controlplane_password)@postgres:5432/controlplane"
keep superuser_url "postgres://postgres:$(cat postgres_password)@postgres:5432/controlplane"
keep redis_url "redis://:$(cat redis_password)@redis:6379/0"
keep redis_auth "requirepass $(cat redis_password)"
keep pgbouncer_userlist "\"cp_pooler\" \"$(cat pgbouncer_password)\""
keep pooler_url "postgres://cp_pooler:$(cat pgbouncer_password)@pgbouncer:6432/pgbouncer"

if [ ! -e README ]; then
    cat >README <<'TEXT'
Secrets of this deployment, made by docker/make-secrets.sh. Never commit or copy them; back up
field_encryption_keys and secret_key: without them the stored passwords of tenants cannot be read again; and
backup_encryption_keys: without them no backup can.

postgres_password       the superuser's, used by the first start, by `migrate` (superuser_url contains it) and by people
controlplane_password   of the control plane's login; database_url contains it
pgbouncer_password      of the pooler's login; pgbouncer_userlist and pooler_url contain it
redis_password          redis_url and redis_auth contain it
secret_key              Django's SECRET_KEY
field_encryption_keys   Fernet keys, the newest first, separated by commas
audit_signing_key       signs the audit log's checkpoints (docs/audit.md)
backup_encryption_keys  wrap the keys of backups (docs/backups.md)
metrics_token           reads /metrics; Prometheus has it
grafana_password        of Grafana's login admin
TEXT
    chmod 0444 README
fi
