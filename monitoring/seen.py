"""What a probe's last look saw, in a few figures for people."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Max, Sum

from monitoring.models import ClusterSample, FleetSample, ProbeState, TenantActivity, TenantSize
from tenants.models import Cluster

_ACTIVITY = ("connections", "active", "idle_in_transaction", "waiting", "calls", "total_seconds", "temp_bytes")
_SIZES = ("total_bytes", "table_bytes", "index_bytes", "toast_bytes", "tables", "dead_rows")


def last_look(cluster: Cluster | None, probe: str) -> dict[str, Any]:
    """Sums over all tenants, or the one row there is; and what is remembered beside it (who blocks whom, pools that
    wait, replication slots). Empty when there was no look that succeeded."""
    state = ProbeState.objects.filter(cluster=cluster, probe=probe).first()
    if state is None or state.ok_at is None:
        return {}
    which: dict[str, Any] = {"taken_at": state.ok_at}
    if cluster is not None:
        which["cluster_id"] = cluster.pk
    beside = {name: state.memory[name] for name in ("blocking", "waiting", "pools", "slots") if name in state.memory}
    if probe == "activity":
        found = TenantActivity.objects.filter(**which).aggregate(
            tenants=Count("pk"), oldest_transaction_seconds=Max("oldest_transaction_seconds"), **_sums(_ACTIVITY)
        )
        return {**found, **beside}
    if probe == "sizes":
        sizes = TenantSize.objects.filter(**which)
        return sizes.aggregate(tenants=Count("pk"), xid_age=Max("xid_age"), **_sums(_SIZES))
    model = {"server": ClusterSample, "control_plane": FleetSample}.get(probe)
    row = model._default_manager.filter(**which).values().first() if model else None
    kept = {name: value for name, value in (row or {}).items() if name not in ("cluster_id", "taken_at")}
    return {**kept, **beside}


def _sums(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: Sum(name) for name in names}
