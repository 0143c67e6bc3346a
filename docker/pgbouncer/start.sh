#!/bin/sh
# The file that the control plane writes has to be there, if empty, before it has written it for the first time.
set -eu
included=/var/lib/pgbouncer/tenants.ini
[ -e "$included" ] || echo "; The control plane writes here." >"$included"
exec pgbouncer /etc/pgbouncer/controlplane.ini
