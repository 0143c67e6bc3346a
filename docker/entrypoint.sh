#!/bin/sh
# One image, all programs of the control plane. Settings come from the environment only: docs/configuration.md.
#   entrypoint.sh web | worker | beat | reaper | sealer run until SIGTERM
#   entrypoint.sh migrate [bootstrap]          do it and end; several may follow each other
#   entrypoint.sh manage COMMAND …             any other command of manage.py
set -eu
cd "$(dirname "$0")/.."
export DJANGO_SETTINGS_MODULE=controlplane.settings

usage() {
    echo "usage: entrypoint.sh web | worker | beat | reaper | sealer | migrate | bootstrap | manage COMMAND …" >&2
    exit 64
}

# A wrong setting ends here, named in one line, before many processes each write a traceback.
check_settings() {
    python manage.py check >/dev/null
}

# Programs share their counters through files, each in its own, so that the web server can show the sum; what dead ones
# have counted is kept in it. What only comes and goes counts nothing.
prepare_metrics() {
    case "$1" in
    web | worker | beat | reaper | sealer) ;;
    *) unset PROMETHEUS_MULTIPROC_DIR ;;
    esac
}

web() {
    # /dev/shm: on a disk that is busy, the heartbeat files of gunicorn would make it kill healthy workers.
    exec python -m gunicorn controlplane.wsgi:application --bind "${BIND:-0.0.0.0}:${PORT:-8000}" \
        --worker-class gthread --workers "${WEB_WORKERS:-2}" --threads "${WEB_THREADS:-4}" \
        --worker-tmp-dir /dev/shm --no-control-socket --graceful-timeout 20 --timeout 60 --access-logfile -
}

worker() {
    exec python -m celery -A controlplane.celery worker --concurrency "${WORKER_CONCURRENCY:-4}" --loglevel INFO \
        --without-gossip --without-mingle --without-heartbeat
}

beat() {
    exec python -m celery -A controlplane.celery beat --loglevel INFO --pidfile ""
}

sealer() {
    exec python manage.py seal_audit_log --follow
}

reaper() {
    exec python manage.py run_reaper
}

migrate() {
    python manage.py migrate_schemas --shared --noinput --verbosity 1
}

bootstrap() {
    python manage.py bootstrap --pool-target "${POOL_TARGET:-10}"
}

[ $# -gt 0 ] || usage
prepare_metrics "$1"
case "$1" in
web | worker | beat | reaper | sealer)
    [ $# -eq 1 ] || usage
    check_settings
    "$1"
    ;;
migrate | bootstrap)
    for step in "$@"; do
        case "$step" in migrate | bootstrap) ;; *) usage ;; esac
    done
    check_settings
    for step in "$@"; do
        "$step"
    done
    ;;
manage)
    shift
    exec python manage.py "$@"
    ;;
*) usage ;;
esac
