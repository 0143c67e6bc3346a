"""Everything that is measured, by name: the one list that alert rules, Prometheus' pages and files, and charts go by.

A metric's figures come from the newest samples (`value` is an expression over their columns) or, where only another app
knows them, from `tenants.facts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.db.models import F, FloatField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, NullIf

from monitoring.models import ClusterSample, FleetSample, TenantActivity, TenantSize
from monitoring.models.samples import Sample


class Scope(StrEnum):
    """What a figure is of."""

    FLEET = "fleet"
    CLUSTER = "cluster"
    TENANT = "tenant"


class Unit(StrEnum):
    """Base units, as Prometheus wants them; BOOLEAN is 1 for yes."""

    COUNT = ""
    SECONDS = "seconds"
    BYTES = "bytes"
    RATIO = "ratio"
    BOOLEAN = "bool"


@dataclass(frozen=True)
class Metric:
    """One thing that is measured. With a `sample` it is read from its newest rows, without from `tenants.facts`.

    `exported`: shown to Prometheus. Of tenants only a handful are, for each is a series for every tenant; what is
    `sparse` is shown of those tenants only of whom it is not 0.
    """

    name: str
    help: str
    scope: Scope
    unit: Unit = Unit.COUNT
    sample: type[Sample] | None = None
    value: Combinable | None = None
    exported: bool = True
    sparse: bool = False

    @property
    def prometheus(self) -> str:
        """Its name there: `controlplane_connections`, `controlplane_tenant_size_bytes`."""
        scope = "" if self.scope is Scope.FLEET else f"{self.scope}_"
        return f"controlplane_{scope}{self.name}"


def _float(column: str) -> Cast:
    return Cast(F(column), FloatField())


def _ratio(part: str | Combinable, whole: str | Combinable) -> Combinable:
    """Null where there is no whole."""
    numerator = _float(part) if isinstance(part, str) else part
    denominator = _float(whole) if isinstance(whole, str) else whole
    return numerator / NullIf(denominator, Value(0.0))


def _total(first: str, second: str) -> Combinable:
    return Coalesce(_float(first), Value(0.0)) + Coalesce(_float(second), Value(0.0))


def _tenant(
    name: str, text: str, sample: type[Sample] | None = None, value: str | Combinable | None = None,
    unit: Unit = Unit.COUNT, *, exported: bool = False, sparse: bool = False,
) -> Metric:  # fmt: skip
    return Metric(name, text, Scope.TENANT, unit, sample, _expression(name, sample, value), exported, sparse)


def _cluster(
    name: str, text: str, value: str | Combinable | None = None, unit: Unit = Unit.COUNT,
    sample: type[Sample] | None = ClusterSample,
) -> Metric:  # fmt: skip
    return Metric(name, text, Scope.CLUSTER, unit, sample, _expression(name, sample, value))


def _fleet(name: str, text: str, unit: Unit = Unit.COUNT, sample: type[Sample] | None = FleetSample) -> Metric:
    return Metric(name, text, Scope.FLEET, unit, sample, _expression(name, sample, None))


def _expression(name: str, sample: type[Sample] | None, value: str | Combinable | None) -> Combinable | None:
    if sample is None:
        return None
    return value if isinstance(value, Combinable) and not isinstance(value, str) else _float(value or name)


_METRICS = (
    # A tenant's sessions and statements.
    _tenant("connections", "Sessions of its logins.", TenantActivity, exported=True),
    _tenant(
        "connections_used_ratio", "Sessions of its logins, as a share of what its plan allows.", TenantActivity,
        _ratio("connections", "connection_limit"), Unit.RATIO, exported=True,
    ),
    _tenant("active", "Sessions that carry out a statement.", TenantActivity),
    _tenant("idle_in_transaction", "Sessions that hold a transaction open and do nothing.", TenantActivity),
    _tenant("waiting", "Sessions that wait for a lock.", TenantActivity),
    _tenant("blocking", "Sessions of others that wait for a lock of this tenant's.", TenantActivity),
    _tenant(
        "oldest_transaction_seconds", "How long its oldest transaction has been open.", TenantActivity,
        unit=Unit.SECONDS, sparse=True,
    ),
    _tenant("statements_per_second", "Statements a second.", TenantActivity, _ratio("calls", "span_seconds")),
    _tenant(
        "statement_mean_seconds", "How long its statements take on average.", TenantActivity,
        _ratio("total_seconds", "calls"), Unit.SECONDS, exported=True,
    ),
    _tenant(
        "statement_load_ratio", "Sessions that are busy with its statements, on average.", TenantActivity,
        _ratio("total_seconds", "span_seconds"), Unit.RATIO,
    ),
    _tenant("temp_bytes", "Written to temporary files since the look before.", TenantActivity, unit=Unit.BYTES),
    _tenant(
        "cache_hit_ratio", "Blocks found in the server's memory.", TenantActivity,
        _ratio("blocks_hit", _total("blocks_hit", "blocks_read")), Unit.RATIO,
    ),
    # A tenant's data.
    _tenant(
        "size_bytes", "Tables, indexes and TOAST.", TenantSize, "total_bytes", Unit.BYTES, exported=True,
    ),
    _tenant(
        "quota_used_ratio", "Its size as a share of what its plan allows.", TenantSize,
        _ratio("total_bytes", "quota_bytes"), Unit.RATIO, exported=True,
    ),
    _tenant(
        "dead_rows_ratio", "Rows that are dead and still take room.", TenantSize,
        _ratio("dead_rows", _total("live_rows", "dead_rows")), Unit.RATIO,
    ),
    _tenant("xid_age", "Transactions since its oldest table was frozen.", TenantSize),
    _tenant(
        "vacuum_age_seconds", "Since the table that waits longest with dead rows was vacuumed.", TenantSize,
        unit=Unit.SECONDS,
    ),
    # What others know of a tenant.
    _tenant(
        "backup_age_seconds", "Since its newest good backup was taken, or proven to be still as the tenant is; since "
        "it was made when it has none, though its policy wants one.", unit=Unit.SECONDS, exported=True,
    ),
    _tenant(
        "backup_overdue", "Its newest good backup is older than its policy's limit.", unit=Unit.BOOLEAN, sparse=True,
    ),
    _tenant("backup_missing", "It is more than a day old and was never backed up.", unit=Unit.BOOLEAN, sparse=True),
    _tenant("backup_failed", "Its last backup failed.", unit=Unit.BOOLEAN, sparse=True),
    _tenant("restore_drill_failed", "Its last restore drill failed.", unit=Unit.BOOLEAN, sparse=True),
    _tenant("proven_restore_age_seconds", "Since a backup of it was last proven by a restore.", unit=Unit.SECONDS),
    _tenant(
        "cross_tenant_attempts", "Tries of its logins at what is another tenant's, the last of them within 10 minutes.",
        sparse=True,
    ),
    # A cluster, as its probes see it.
    _cluster("connections", "Sessions on the server."),
    _cluster(
        "connection_slots_used_ratio", "Sessions as a share of the server's connection slots.",
        _ratio("connections", "connection_slots"), Unit.RATIO,
    ),
    _cluster("active", "Sessions that carry out a statement."),
    _cluster("waiting", "Sessions that wait for a lock."),
    _cluster("oldest_transaction_seconds", "How long the oldest transaction has been open.", unit=Unit.SECONDS),
    _cluster("transactions_per_second", "Transactions a second.", _ratio("transactions", "span_seconds")),
    _cluster("deadlocks", "Deadlocks since the look before."),
    _cluster("temp_bytes", "Written to temporary files since the look before.", unit=Unit.BYTES),
    _cluster("wal_bytes_per_second", "Write-ahead log a second.", _ratio("wal_bytes", "span_seconds"), Unit.BYTES),
    _cluster(
        "cache_hit_ratio", "Blocks found in the server's memory.",
        _ratio("blocks_hit", _total("blocks_hit", "blocks_read")), Unit.RATIO,
    ),
    _cluster("replication_lag_seconds", "How far the slowest replica is behind.", unit=Unit.SECONDS),
    _cluster("xid_age", "Transactions since the oldest database was frozen; 2 billion stop the server."),
    _cluster("size_bytes", "All databases of the server.", unit=Unit.BYTES),
    _cluster(
        "disk_used_ratio", "How full the disk is that holds the server's data.",
        Value(1.0) - _ratio("disk_free_bytes", "disk_total_bytes"), Unit.RATIO,
    ),
    _cluster("pooler_waiting", "Clients that wait for a server connection in PgBouncer."),
    _cluster("pooler_maxwait_seconds", "How long the first of them has waited.", unit=Unit.SECONDS),
    # What others know of a cluster.
    _cluster("probe_silent_seconds", "How long the figures of its most silent probe are overdue.", unit=Unit.SECONDS,
             sample=None),
    _cluster("isolation_failed", "The last check of isolation found something critical or could not be made.",
             unit=Unit.BOOLEAN, sample=None),
    _cluster("isolation_degraded", "It is more open than it was prepared to be.", unit=Unit.BOOLEAN, sample=None),
    _cluster("pool_ready", "Warm slots that wait for tenants.", sample=None),
    _cluster("pool_empty", "A template in use has no warm slot left.", unit=Unit.BOOLEAN, sample=None),
    _cluster("certificate_expiry_seconds", "Until the server's certificate ends.", unit=Unit.SECONDS, sample=None),
    # The control plane.
    _fleet("tenants", "Tenants that are not purged."),
    _fleet("tenants_active", "Tenants that are active."),
    _fleet("tenants_failed", "Tenants that could not be made."),
    _fleet("operations_pending", "Operations that wait for a worker."),
    _fleet("operations_running", "Operations that are being carried out."),
    _fleet("operations_stuck", "Operations that are open while nobody beats for them."),
    _fleet("operations_failed", "Operations that failed within the last hour."),
    _fleet("oldest_pending_seconds", "How long the oldest operation has waited for a worker.", Unit.SECONDS),
    _fleet("queue_depth", "Messages that wait in Redis."),
    _fleet("worker_seen_seconds", "Since a worker was last seen.", Unit.SECONDS),
    _fleet("beat_seen_seconds", "Since beat last sent anything.", Unit.SECONDS),
    _fleet("audit_unsealed", "Audit events that have no place in the chain yet."),
    _fleet(
        "creation_seconds", "The slowest creation of a tenant within the last 5 minutes, unfinished ones included.",
        Unit.SECONDS, None,
    ),
    _fleet("backups_failed", "Tenants whose last backup failed.", Unit.COUNT, None),
    _fleet(
        "audit_chain_broken", "The last verification of the audit log, or the last of the whole log, found it changed.",
        Unit.BOOLEAN, None,
    ),
    _fleet(
        "key_expiry_seconds", "Until the first API key that is still used ends; ten years at most.", Unit.SECONDS, None,
    ),
    _fleet("storage_failed", "Backup storages that do not answer.", Unit.COUNT, None),
)  # fmt: skip

METRICS: dict[tuple[Scope, str], Metric] = {(metric.scope, metric.name): metric for metric in _METRICS}


def metric(scope: str, name: str) -> Metric:
    """The metric of this name. Raises KeyError."""
    return METRICS[Scope(scope), name]
