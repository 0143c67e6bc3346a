"""The rules that come with the product: the one source that alerts and Prometheus' rule files are made from.

Each is `metric comparison threshold` for so long; texts name values in braces (monitoring.alerts.text).
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass(frozen=True)
class ShippedRule:
    """A rule as it is delivered; its key is its slug, which never changes. Times in seconds."""

    slug: str
    name: str
    metric: str  # with its scope: `tenant.backup_failed`
    comparison: str
    threshold: float
    severity: str
    summary: str
    description: str = ""
    clear_threshold: float | None = None
    for_seconds: int = 0
    keep_firing_seconds: int = 0
    runbook: str = ""  # where it is not the slug: several rules may share a page

    @property
    def page(self) -> str:
        """The runbook's slug."""
        return self.runbook or self.slug


SHIPPED: tuple[ShippedRule, ...] = (
    # Making tenants.
    ShippedRule(
        "creation-slow", "Creation is slow", "fleet.creation_seconds", ">", 8, "warning",
        "A tenant took {value} to create (limit {threshold})",
        "The slowest creation of the last 5 minutes, unfinished ones included.", runbook="creation-slow",
    ),
    ShippedRule(
        "creation-too-slow", "Creation is too slow", "fleet.creation_seconds", ">", 10, "critical",
        "A tenant took {value} to create (limit {threshold})",
        "The slowest creation of the last 5 minutes, unfinished ones included.", runbook="creation-slow",
    ),
    ShippedRule(
        "pool-empty", "Warm pool is empty", "cluster.pool_empty", ">=", 1, "warning",
        "No warm slot is left on {cluster}", "New tenants wait for a schema to be built.", for_seconds=2 * MINUTE,
    ),
    ShippedRule(
        "operation-stuck", "Operation is stuck", "fleet.operations_stuck", ">=", 1, "critical",
        "{value} operations are open and nobody works on them", for_seconds=2 * MINUTE,
    ),
    ShippedRule(
        "operations-waiting", "Operations wait for a worker", "fleet.oldest_pending_seconds", ">", 5 * MINUTE,
        "warning", "The oldest operation has waited {value} for a worker", for_seconds=MINUTE, runbook="worker-silent",
    ),
    # Isolation.
    ShippedRule(
        "cross-tenant-attempt", "Attempt at another tenant", "tenant.cross_tenant_attempts", ">=", 1, "critical",
        "{tenant} tried {value} times to reach what is another tenant's",
        "Within 10 minutes. The attempts were refused; who tried, at what and from where is listed.",
        keep_firing_seconds=5 * MINUTE,
    ),
    ShippedRule(
        "isolation-failed", "Isolation is not proven", "cluster.isolation_failed", ">=", 1, "critical",
        "The check of isolation on {cluster} found something critical, or could not be made",
    ),
    ShippedRule(
        "isolation-degraded", "Isolation is degraded", "cluster.isolation_degraded", ">=", 1, "warning",
        "{cluster} is more open than it was prepared to be", for_seconds=10 * MINUTE,
    ),
    # Backups.
    ShippedRule(
        "backup-failed", "Backup failed", "tenant.backup_failed", ">=", 1, "critical",
        "The last backup of {tenant} failed",
    ),
    ShippedRule(
        "backup-missing", "Never backed up", "tenant.backup_missing", ">=", 1, "critical",
        "{tenant} was never backed up", "It is more than a day old.",
    ),
    ShippedRule(
        "backup-overdue", "Backup is too old", "tenant.backup_overdue", ">=", 1, "critical",
        "The newest good backup of {tenant} is older than its policy allows",
    ),
    ShippedRule(
        "restore-drill-failed", "Restore drill failed", "tenant.restore_drill_failed", ">=", 1, "critical",
        "The last restore drill of {tenant} failed", "Its newest backup may not be one.",
    ),
    ShippedRule(
        "storage-failed", "Backup storage fails", "fleet.storage_failed", ">=", 1, "critical",
        "{value} backup storages do not answer", for_seconds=5 * MINUTE,
    ),
    # A tenant's limits.
    ShippedRule(
        "connections-near-limit", "Connections near the limit", "tenant.connections_used_ratio", ">=", 0.8, "warning",
        "{tenant} uses {value} of its connections", "From 100 % on, new connections are refused.",
        clear_threshold=0.75, for_seconds=30,
    ),
    ShippedRule(
        "quota-nearly-used", "Storage quota nearly used", "tenant.quota_used_ratio", ">=", 0.9, "warning",
        "{tenant} uses {value} of its storage", clear_threshold=0.85,
    ),
    ShippedRule(
        "transaction-old", "Transaction is open for long", "tenant.oldest_transaction_seconds", ">", HOUR, "warning",
        "A transaction of {tenant} has been open for {value}", "It keeps dead rows of all tenants from being removed.",
        for_seconds=MINUTE,
    ),
    # Servers.
    ShippedRule(
        "probe-silent", "No figures of a cluster", "cluster.probe_silent_seconds", ">", 5 * MINUTE, "critical",
        "A probe of {cluster} has brought nothing for {value}",
        "What is shown of it is old, and other rules are blind.",
    ),
    ShippedRule(
        "connection-slots", "Connection slots run out", "cluster.connection_slots_used_ratio", ">=", 0.8, "warning",
        "{value} of the connection slots of {cluster} are used", clear_threshold=0.75, for_seconds=MINUTE,
    ),
    ShippedRule(
        "connection-slots-out", "Connection slots are out", "cluster.connection_slots_used_ratio", ">=", 0.95,
        "critical", "{value} of the connection slots of {cluster} are used", clear_threshold=0.9, for_seconds=30,
        runbook="connection-slots",
    ),
    ShippedRule(
        "replication-lag", "Replica is behind", "cluster.replication_lag_seconds", ">", 60, "warning",
        "The slowest replica of {cluster} is {value} behind", clear_threshold=30, for_seconds=2 * MINUTE,
    ),
    ShippedRule(
        "xid-age", "Transaction ids age", "cluster.xid_age", ">", 1_000_000_000, "warning",
        "The oldest database of {cluster} was frozen {value} transactions ago", "At 2 billion the server stops.",
    ),
    ShippedRule(
        "xid-age-critical", "Transaction ids run out", "cluster.xid_age", ">", 1_500_000_000, "critical",
        "The oldest database of {cluster} was frozen {value} transactions ago", "At 2 billion the server stops.",
        runbook="xid-age",
    ),
    ShippedRule(
        "disk-filling", "Disk fills", "cluster.disk_used_ratio", ">=", 0.8, "warning",
        "The disk of {cluster} is {value} full", clear_threshold=0.75, for_seconds=5 * MINUTE, runbook="disk-full",
    ),
    ShippedRule(
        "disk-full", "Disk is nearly full", "cluster.disk_used_ratio", ">=", 0.9, "critical",
        "The disk of {cluster} is {value} full", "PostgreSQL stops when it cannot write.", clear_threshold=0.85,
        for_seconds=MINUTE,
    ),
    ShippedRule(
        "pooler-waiting", "Clients wait in PgBouncer", "cluster.pooler_maxwait_seconds", ">", 5, "warning",
        "Clients of {cluster} have waited {value} for a server connection", clear_threshold=1, for_seconds=MINUTE,
    ),
    ShippedRule(
        "certificate-expiry", "Certificate expires", "cluster.certificate_expiry_seconds", "<", 14 * DAY, "warning",
        "The certificate of {cluster} ends in {value}",
    ),
    # The control plane itself.
    ShippedRule(
        "worker-silent", "No worker", "fleet.worker_seen_seconds", ">", MINUTE, "critical",
        "No worker was seen for {value}", "Nothing is provisioned, backed up or restored.",
    ),
    ShippedRule(
        "beat-silent", "No beat", "fleet.beat_seen_seconds", ">", MINUTE, "critical",
        "Beat has sent nothing for {value}", "No backup, sweep or check is begun.",
    ),
    ShippedRule(
        "audit-chain-broken", "Audit log was changed", "fleet.audit_chain_broken", ">=", 1, "critical",
        "The last verification found the audit log changed",
    ),
    ShippedRule(
        "audit-unsealed", "Audit events wait for their seal", "fleet.audit_unsealed", ">", 1_000, "warning",
        "{value} audit events have no place in the chain yet", for_seconds=2 * MINUTE,
    ),
    ShippedRule(
        "key-expiry", "API key expires", "fleet.key_expiry_seconds", "<", 7 * DAY, "warning",
        "An API key that is used ends in {value}",
    ),
)  # fmt: skip

BY_SLUG = {rule.slug: rule for rule in SHIPPED}
