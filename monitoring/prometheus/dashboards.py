"""Grafana's dashboards: the fleet, a cluster, a tenant. Tests try every expression against a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "controlplane"}
WIDTH, HEIGHT = 24, 7
PER_CLUSTER = '{cluster=~"$cluster"}'
PER_TENANT = '{tenant="$tenant"}'
WARNING, CRITICAL = "orange", "red"

Query = tuple[str, str]  # expression, legend


@dataclass(frozen=True)
class Panel:
    """One panel: a chart over time, or with `stat` the newest figures as numbers. `steps`: from which value on it has
    another colour."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    stat: bool = False
    width: int = 8
    steps: Sequence[tuple[float, str]] = ()

    def document(self, number: int, x: int, y: int) -> dict[str, Any]:
        """As Grafana has it."""
        steps = [{"color": "green", "value": None}, *({"color": colour, "value": at} for at, colour in self.steps)]
        lines = {"custom": {"thresholdsStyle": {"mode": "line" if self.steps else "off"}}}
        defaults = {"unit": self.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
        return {
            "id": number,
            "title": self.title,
            "type": "stat" if self.stat else "timeseries",
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": 4 if self.stat else HEIGHT},
            "fieldConfig": {"defaults": defaults | ({} if self.stat else lines), "overrides": []},
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if self.stat else {"tooltip": {"mode": "multi"}},
            "targets": [
                {"refId": chr(65 + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
                for place, (expression, legend) in enumerate(self.queries)
            ],
        }


def _rate(counter: str) -> str:
    return f"rate({counter}[$__rate_interval])"


def _quantiles(histogram: str, by: str = "") -> list[Query]:
    rate = f"sum by (le{by}) (rate({histogram}_bucket[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {rate})", f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def _of(scope: str, name: str, legend: str = "") -> Query:
    where = PER_TENANT if scope == "tenant" else PER_CLUSTER
    return f"controlplane_{scope}_{name}{where}", legend or ("{{cluster}}" if scope == "cluster" else name)


def _rare(name: str, legend: str) -> Query:
    """What is shown only where it is not 0."""
    return f"sum(controlplane_tenant_{name}{PER_TENANT}) or vector(0)", legend


FLEET = (
    Panel("Tenants", [("sum by (state) (controlplane_tenants_by_state)", "{{state}}")], stat=True),
    Panel(
        "Alerts that fire",
        [(f'count(ALERTS{{alertstate="firing", severity="{s}"}}) or vector(0)', s) for s in ("critical", "warning")],
        stat=True, steps=[(1, CRITICAL)],
    ),
    Panel(
        "Operations",
        [(f"controlplane_operations_{s}", s) for s in ("pending", "running", "stuck", "failed")],
        stat=True,
    ),
    Panel(
        "Slowest creation of the last 5 minutes", [("controlplane_creation_seconds", "slowest")], "s",
        steps=[(8, WARNING), (10, CRITICAL)],
    ),
    Panel(
        "Provisioning time", _quantiles("controlplane_provisioning_duration_seconds"), "s",
        steps=[(8, WARNING), (10, CRITICAL)],
    ),
    Panel("Warm slots", [("controlplane_cluster_pool_ready", "{{cluster}}")]),
    Panel(
        "Operations that ended, a minute",
        [(f"sum by (kind, outcome) ({_rate('controlplane_operations_total')}) * 60", "{{kind}} {{outcome}}")],
    ),
    Panel(
        "Waiting",
        [("controlplane_queue_depth", "messages"), ("controlplane_oldest_pending_seconds", "oldest operation (s)")],
    ),
    Panel(
        "Last seen", [("controlplane_worker_seen_seconds", "worker"), ("controlplane_beat_seen_seconds", "beat")], "s",
        steps=[(60, CRITICAL)],
    ),
    Panel("Backup time", _quantiles("controlplane_backup_duration_seconds"), "s"),
    Panel(
        "Backups: tenants and storages",
        [("controlplane_backups_failed", "tenants' last one failed"), ("controlplane_storage_failed", "storages away")],
        steps=[(1, CRITICAL)],
    ),
    Panel("Oldest recovery points", [("topk(10, controlplane_tenant_backup_age_seconds)", "{{tenant}}")], "s"),
    Panel("Largest tenants", [("topk(10, controlplane_tenant_size_bytes)", "{{tenant}}")], "bytes"),
    Panel(
        "Connections, most of the limit used", [("topk(10, controlplane_tenant_connections_used_ratio)", "{{tenant}}")],
        "percentunit", steps=[(0.8, WARNING)],
    ),
    Panel("Slowest statements (mean)", [("topk(10, controlplane_tenant_statement_mean_seconds)", "{{tenant}}")], "s"),
    Panel(
        "Attempts at other tenants, 1 h",
        [("sum by (kind) (increase(controlplane_cross_tenant_attempts_total[1h]))", "{{kind}}")],
    ),
    Panel(
        "Notifications, 1 h",
        [("sum by (channel, outcome) (increase(controlplane_notifications_total[1h]))", "{{channel}} {{outcome}}")],
    ),
    Panel("Audit events without a seal", [("controlplane_audit_unsealed", "waiting")], steps=[(1_000, WARNING)]),
    Panel("Restore time", _quantiles("controlplane_restore_duration_seconds"), "s"),
    Panel(
        "Answers of the web server",
        [(f"sum by (status) ({_rate('django_http_responses_total_by_status_total')})", "{{status}}")], "reqps",
    ),
    Panel("Figures' age", [("max by (cluster, probe) (controlplane_probe_age_seconds)", "{{cluster}} {{probe}}")], "s",
          steps=[(300, CRITICAL)]),
)  # fmt: skip

CLUSTER = (
    Panel("Sessions", [_of("cluster", "connections"), _of("cluster", "active", "{{cluster}} active")]),
    Panel(
        "Connection slots used", [_of("cluster", "connection_slots_used_ratio")], "percentunit",
        steps=[(0.8, WARNING), (0.95, CRITICAL)],
    ),
    Panel("Sessions that wait for a lock", [_of("cluster", "waiting")]),
    Panel("Transactions a second", [_of("cluster", "transactions_per_second")], "ops"),
    Panel("Oldest transaction", [_of("cluster", "oldest_transaction_seconds")], "s"),
    Panel("Write-ahead log", [_of("cluster", "wal_bytes_per_second")], "Bps"),
    Panel("Blocks found in memory", [_of("cluster", "cache_hit_ratio")], "percentunit"),
    Panel("Temporary files", [_of("cluster", "temp_bytes")], "bytes"),
    Panel("Deadlocks", [_of("cluster", "deadlocks")]),
    Panel("Size", [_of("cluster", "size_bytes")], "bytes"),
    Panel("Disk", [_of("cluster", "disk_used_ratio")], "percentunit", steps=[(0.8, WARNING), (0.9, CRITICAL)]),
    Panel(
        "Transactions since the oldest freezing", [_of("cluster", "xid_age")],
        steps=[(1_000_000_000, WARNING), (1_500_000_000, CRITICAL)],
    ),
    Panel("Slowest replica", [_of("cluster", "replication_lag_seconds")], "s", steps=[(60, WARNING)]),
    Panel("Clients that wait in PgBouncer", [_of("cluster", "pooler_waiting")]),
    Panel("Longest wait in PgBouncer", [_of("cluster", "pooler_maxwait_seconds")], "s", steps=[(5, WARNING)]),
    Panel("Warm slots", [_of("cluster", "pool_ready")]),
    Panel(
        "Isolation", [_of("cluster", "isolation_degraded", "{{cluster}} degraded")], steps=[(1, WARNING)],
    ),
    Panel("Since a probe brought figures", [_of("cluster", "probe_silent_seconds")], "s", steps=[(300, CRITICAL)]),
    Panel(
        "Its largest tenants", [(f"topk(10, controlplane_tenant_size_bytes{PER_CLUSTER})", "{{tenant}}")], "bytes",
        width=12,
    ),
    Panel("Its busiest tenants", [(f"topk(10, controlplane_tenant_connections{PER_CLUSTER})", "{{tenant}}")], width=12),
)  # fmt: skip

TENANT = (
    Panel("Size", [_of("tenant", "size_bytes", "size")], "bytes"),
    Panel("Storage quota used", [_of("tenant", "quota_used_ratio", "used")], "percentunit", steps=[(0.9, WARNING)]),
    Panel("Growth in 24 h", [(f"delta(controlplane_tenant_size_bytes{PER_TENANT}[24h])", "growth")], "bytes"),
    Panel("Sessions", [_of("tenant", "connections", "sessions")]),
    Panel("Connections used", [_of("tenant", "connections_used_ratio", "used")], "percentunit", steps=[(0.8, WARNING)]),
    Panel("Statements (mean)", [_of("tenant", "statement_mean_seconds", "mean")], "s"),
    Panel("Newest recovery point", [_of("tenant", "backup_age_seconds", "age")], "s"),
    Panel("Oldest transaction", [_rare("oldest_transaction_seconds", "open for")], "s", steps=[(3600, WARNING)]),
    Panel("Attempts at other tenants", [_rare("cross_tenant_attempts", "within 10 minutes")], steps=[(1, CRITICAL)]),
    Panel(
        "Backups",
        [
            _rare("backup_failed", "last one failed"),
            _rare("backup_overdue", "too old"),
            _rare("backup_missing", "never"),
            _rare("restore_drill_failed", "drill failed"),
        ],
        steps=[(1, CRITICAL)],
    ),
)


def _laid_out(panels: Iterable[Panel]) -> list[dict[str, Any]]:
    """From left to right, as many in a row as fit."""
    found: list[dict[str, Any]] = []
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > WIDTH:
            x, y, height = 0, y + height, 0
        document = panel.document(number, x, y)
        height = max(height, document["gridPos"]["h"])
        x += panel.width
        found.append(document)
    return found


def _variable(name: str, query: str, *, every: bool = False) -> dict[str, Any]:
    return {
        "name": name, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1, "includeAll": every,
        "multi": every, "query": {"query": query, "refId": name}, "definition": query,
    }  # fmt: skip


def _dashboard(uid: str, title: str, panels: Iterable[Panel], *variables: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": f"controlplane-{uid}",
        "title": title,
        "tags": ["controlplane"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["controlplane"], "title": "Control plane", "keepTime": True}],
        "templating": {"list": list(variables)},
        "panels": _laid_out(panels),
    }


def dashboards() -> dict[str, dict[str, Any]]:
    """Each by the name of its file."""
    cluster = _variable("cluster", "label_values(controlplane_cluster_connections, cluster)", every=True)
    tenant = _variable("tenant", "label_values(controlplane_tenant_size_bytes, tenant)")
    return {
        "fleet": _dashboard("fleet", "Fleet", FLEET),
        "cluster": _dashboard("cluster", "Cluster", CLUSTER, cluster),
        "tenant": _dashboard("tenant", "Tenant", TENANT, tenant),
    }


def provisioning() -> dict[str, dict[str, Any]]:
    """What tells Grafana of them, by path."""
    source = {
        "name": "Prometheus", "uid": SOURCE["uid"], "type": "prometheus", "access": "proxy", "isDefault": True,
        "url": "http://prometheus:9090", "jsonData": {"timeInterval": "15s"},
    }  # fmt: skip
    provider = {
        "name": "controlplane", "type": "file", "folder": "Control plane", "allowUiUpdates": False,
        "options": {"path": "/etc/grafana/dashboards"},
    }  # fmt: skip
    return {
        "datasources/controlplane.yml": {"apiVersion": 1, "datasources": [source]},
        "dashboards/controlplane.yml": {"apiVersion": 1, "providers": [provider]},
    }
