"""Is the process alive, and is the service ready?"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from provisioning.models import TemplateVersion
from tenants import seen
from tenants.models import Cluster
from tenants.seen import Who

log = logging.getLogger(__name__)
_migrated = False


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 as long as this process answers."""
    return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _redis() -> str:
    cache.get("controlplane:readyz")
    return "ok"


def _migrations() -> str:
    """Looked up until it is true: migrations come with a new process."""
    global _migrated
    if not _migrated:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return "migrations are missing"
        _migrated = True
    return "ok"


def _default_cluster() -> str:
    return "ok" if Cluster.objects.filter(is_default=True).exists() else "there is none"


def _default_template() -> str:
    return "ok" if TemplateVersion.objects.filter(template__is_default=True).exists() else "there is none"


def _worker() -> str:
    """A worker lives; and where beat gives it something to do every few seconds, it does that."""
    if seen.lately(Who.TASKS):
        return "ok"
    if not seen.lately(Who.WORKER):
        return "no worker seen lately"
    return "a worker is there and does not work" if seen.lately(Who.BEAT) else "ok"


def _beat() -> str:
    return "ok" if seen.lately(Who.BEAT) else "no beat seen lately"


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "redis": _redis,
    "migrations": _migrations,
    "default_cluster": _default_cluster,
    "default_template": _default_template,
    "worker": _worker,
    "beat": _beat,
}


def _result(name: str) -> str:
    try:
        return CHECKS[name]()
    except Exception as error:
        log.warning("readyz.check_failed", extra={"check": name, "error": type(error).__name__})
        connection.close()
        return "does not answer"


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when everything is there that serving needs, else 503 saying what is not."""
    checks = {name: _result(name) for name in CHECKS}
    ready = all(result == "ok" for result in checks.values())
    return JsonResponse(
        {"status": "ready" if ready else "not ready", "checks": checks},
        status=200 if ready else 503,
        headers={"Cache-Control": "no-store"} | ({} if ready else {"Retry-After": "2"}),
    )
