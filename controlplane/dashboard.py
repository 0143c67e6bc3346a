"""The fleet on one page: how many tenants in which state, how full the pools, what runs, what failed, how fast."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from controlplane.boards import fleet as board
from controlplane.boards import operations, views
from controlplane.boards.alerts import firing
from controlplane.boards.backups import backup_figures
from monitoring.history import creation
from provisioning import pool
from tenants.admin.display import duration
from tenants.models import Cluster, Tenant
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
REFRESH_SECONDS = 10
_HOURS = 24
# Purged tenants are history; the fleet is made of these.
_STATES = ("active", "provisioning", "suspended", "deleted", "failed")


@dataclass(frozen=True)
class Number:
    """A number that leads to what it counts."""

    label: str
    value: int | str
    url: str
    tone: str = ""
    share: float = 0.0


def dashboard_callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What unfold's first page shows."""
    frame = views.frame(request, board.PLOTS, reverse("admin:fleet_charts"))
    return {
        **context,
        **frame,
        "alerts": firing(request) if may_see(request) else None,
        "fleet": fleet(backups=_may_see_backups(request)) if may_see(request) else None,
        "refresh_seconds": REFRESH_SECONDS,
        "charts_seconds": views.REFRESH_SECONDS,
    }


def dashboard_fragment(request: HttpRequest) -> HttpResponse:
    """The same alone, for the refresh."""
    if not may_see(request):
        raise PermissionDenied("Needs tenants.view_tenant and tenants.view_operation.")
    context = {
        "fleet": fleet(backups=_may_see_backups(request)),
        "alerts": firing(request),
        "refresh_seconds": REFRESH_SECONDS,
    }
    return render(request, "controlplane/fleet.html", context)


def may_see(request: HttpRequest) -> bool:
    """Whether the fleet is this person's business."""
    return request.user.has_perms(views.FLEET)


def _may_see_backups(request: HttpRequest) -> bool:
    return request.user.has_perm("backups.view_backup")


def fleet(*, backups: bool = True) -> dict[str, Any]:
    """All numbers (those of backups if they are wanted), by a number of queries that does not depend on the size of the
    fleet."""
    counts = _rows("operation_counts")[0]
    return {
        "taken_at": timezone.localtime(),
        "tenants": _tenants(),
        "operations": [
            Number("running", counts["running"], _operations(state__in="running,cancelling"), "info"),
            Number("waiting", counts["pending"], _operations(state__exact="pending"), "info"),
            Number(
                "failed in 24 h",
                counts["failed"],
                _operations(state__exact="failed", finished="24h"),
                "danger" if counts["failed"] else "",
            ),
            Number("succeeded in 24 h", counts["succeeded"], _operations(state__exact="succeeded", finished="24h")),
        ],
        "failures": operations.failed(),
        "stuck": operations.stuck(),
        "backups": backup_figures() if backups else None,
        "rankings": board.rankings(),
        "pools": _pools(),
        "times": _times(),
        "hours": _hours(),
        "clusters": _clusters(),
    }


def _rows(name: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(QUERIES[name])
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _list(view: str, **filters: Any) -> str:
    return f"{reverse(f'admin:{view}_changelist')}?{urlencode(filters)}"


def _operations(**filters: Any) -> str:
    return _list("tenants_operation", **filters)


def _tenants() -> dict[str, Any]:
    found = dict(Tenant.objects.order_by().values_list("state").annotate(count=Count("pk")))
    total = sum(found.get(state, 0) for state in _STATES)
    return {
        "total": total,
        "url": reverse("admin:tenants_tenant_changelist"),
        "states": [
            Number(
                state,
                found.get(state, 0),
                _list("tenants_tenant", state__exact=state),
                state,
                100 * found.get(state, 0) / total if total else 0,
            )
            for state in _STATES
        ],
    }


def _pools() -> dict[str, Any]:
    levels = [level for level in pool.levels() if level.target or level.ready or level.building]
    rows = [
        {
            "level": level,
            "percent": min(100, 100 * level.ready // level.target) if level.target else 100,
            "tone": "danger" if level.target and not level.ready else ("warning" if level.ready < level.target else ""),
            "url": _list(
                "provisioning_schemaslot",
                state__exact="ready",
                cluster__id__exact=level.cluster.pk,
                template_version__id__exact=level.version.pk,
            ),
        }
        for level in levels
    ]
    return {
        "rows": rows,
        "ready": sum(level.ready for level in levels),
        "target": sum(level.target for level in levels),
        "url": _list("provisioning_schemaslot", state__exact="ready"),
    }


def _times() -> list[dict[str, Any]]:
    now = timezone.now()
    found = creation.times(now - timedelta(hours=24), now)
    url = _operations(kind="tenant.provision", state__exact="succeeded", finished="24h")
    return [
        {
            "label": label,
            "count": times.count,
            "url": url,
            "shown": [duration(value) if times.count else "–" for value in times.quantiles],
            "slow": times.slow,
            "too_slow": times.too_slow,
        }
        for label in ("warm", "cold")
        for times in [found[label]]
    ]


def _hours() -> dict[str, Any]:
    """Bars of a chart, oldest hour first: heights in per cent of the highest."""
    found = {row["hours_ago"]: row for row in _rows("provisioning_by_hour")}
    kinds = ("warm", "cold", "failed")
    top = max((sum(row[kind] for kind in kinds) for row in found.values()), default=0)
    bars = []
    for position, hours_ago in enumerate(reversed(range(_HOURS))):
        row = found.get(hours_ago, dict.fromkeys(kinds, 0))
        parts, level = [], 0.0
        for kind in kinds:
            height = 100 * row[kind] / top if top else 0
            level += height
            parts.append({"kind": kind, "height": round(height, 2), "y": round(100 - level, 2)})
        bars.append({"x": position * 10, "parts": parts, "hours_ago": hours_ago, **{kind: row[kind] for kind in kinds}})
    return {"top": top, "bars": bars, "total": sum(row[kind] for row in found.values() for kind in kinds)}


def _clusters() -> list[dict[str, Any]]:
    # A database of a tenant's own counts with the cluster on whose server it is.
    living = Count("tenants", filter=~Q(tenants__state=Tenant.State.PURGED), distinct=True) + Count(
        "databases", distinct=True
    )
    seen = board.servers()
    return [
        {
            "cluster": cluster,
            "health": "failing" if cluster.last_error else ("well" if cluster.checked_at else "not checked"),
            "url": reverse("admin:tenants_cluster_change", args=[cluster.pk]),
            "board_url": reverse("admin:board_cluster", args=[cluster.pk]),
            "tenants": cluster.living,
            "tenants_url": _list("tenants_tenant", cluster__id__exact=cluster.pk),
            "server": seen.get(cluster.pk, board.ServerFigures(None)),
        }
        for cluster in Cluster.objects.filter(host_cluster=None).annotate(living=living)
    ]
