"""Samples: wide rows, one for each subject and look, in tables partitioned by time.

There are three of each kind: as taken (`…`), over five minutes (`…5m`), over a day (`…Daily`), with the same columns.
How a column is rolled up stands in `monitoring.rollups`. Subjects have no foreign keys: samples outlive them, are
written in bulk and are dropped a partition at a time. Columns are null where it could not be seen.
"""

from __future__ import annotations

from django.db import models


class Sample(models.Model):
    """`taken_at` is the same for all subjects of one look; of a rollup it is the beginning of its span."""

    taken_at = models.DateTimeField()

    class Meta:
        abstract = True
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} at {self.taken_at:%Y-%m-%d %H:%M:%S}"


class _OfTenant(Sample):
    pk = models.CompositePrimaryKey("tenant_id", "taken_at")
    cluster_id = models.BigIntegerField()
    tenant_id = models.UUIDField()

    class Meta(Sample.Meta):
        abstract = True
        indexes = (models.Index(fields=["taken_at"], name="%(class)s_taken"),)


class _Activity(_OfTenant):
    """What a tenant does. Counts of statements are of the time since the look before (`span_seconds`)."""

    connections = models.IntegerField(null=True)
    connection_limit = models.IntegerField(null=True)
    active = models.IntegerField(null=True)
    idle_in_transaction = models.IntegerField(null=True)
    waiting = models.IntegerField(null=True, help_text="Sessions that wait for a lock.")
    blocking = models.IntegerField(null=True, help_text="Sessions of others that wait for this tenant.")
    oldest_transaction_seconds = models.FloatField(null=True)
    span_seconds = models.FloatField(null=True)
    calls = models.BigIntegerField(null=True)
    total_seconds = models.FloatField(null=True)
    max_seconds = models.FloatField(null=True, help_text="The longest statement since the statistics began.")
    rows = models.BigIntegerField(null=True)
    temp_bytes = models.BigIntegerField(null=True)
    blocks_hit = models.BigIntegerField(null=True)
    blocks_read = models.BigIntegerField(null=True)

    class Meta(_OfTenant.Meta):
        abstract = True


class _Size(_OfTenant):
    """How much a tenant has, and how well it is looked after."""

    table_bytes = models.BigIntegerField(null=True, help_text="Heap, free space and visibility maps.")
    index_bytes = models.BigIntegerField(null=True)
    toast_bytes = models.BigIntegerField(null=True)
    total_bytes = models.BigIntegerField(null=True)
    quota_bytes = models.BigIntegerField(null=True)
    tables = models.IntegerField(null=True)
    live_rows = models.BigIntegerField(null=True)
    dead_rows = models.BigIntegerField(null=True)
    xid_age = models.BigIntegerField(null=True)
    vacuum_age_seconds = models.FloatField(null=True, help_text="Of the table that waits longest with dead rows.")
    analyze_age_seconds = models.FloatField(null=True)

    class Meta(_OfTenant.Meta):
        abstract = True


class _Cluster(Sample):
    """A server. Counts are of the time since the look before (`span_seconds`)."""

    pk = models.CompositePrimaryKey("cluster_id", "taken_at")
    cluster_id = models.BigIntegerField()
    connections = models.IntegerField(null=True)
    connection_slots = models.IntegerField(null=True, help_text="max_connections less those kept for superusers.")
    active = models.IntegerField(null=True)
    idle_in_transaction = models.IntegerField(null=True)
    waiting = models.IntegerField(null=True)
    oldest_transaction_seconds = models.FloatField(null=True)
    span_seconds = models.FloatField(null=True)
    transactions = models.BigIntegerField(null=True)
    rollbacks = models.BigIntegerField(null=True)
    deadlocks = models.BigIntegerField(null=True)
    temp_bytes = models.BigIntegerField(null=True)
    wal_bytes = models.BigIntegerField(null=True)
    blocks_hit = models.BigIntegerField(null=True)
    blocks_read = models.BigIntegerField(null=True)
    checkpoints_timed = models.BigIntegerField(null=True)
    checkpoints_requested = models.BigIntegerField(null=True)
    replicas = models.IntegerField(null=True)
    replication_lag_seconds = models.FloatField(null=True)
    replication_lag_bytes = models.BigIntegerField(null=True)
    xid_age = models.BigIntegerField(null=True)
    size_bytes = models.BigIntegerField(null=True)
    disk_total_bytes = models.BigIntegerField(null=True, help_text="Only where its directory is on this machine.")
    disk_free_bytes = models.BigIntegerField(null=True)
    pooler_active = models.IntegerField(null=True, help_text="Clients that have a server connection.")
    pooler_waiting = models.IntegerField(null=True, help_text="Clients that wait for one.")
    pooler_maxwait_seconds = models.FloatField(null=True)

    class Meta(Sample.Meta):
        abstract = True


class _Fleet(Sample):
    """The control plane itself."""

    taken_at = models.DateTimeField(primary_key=True)
    tenants = models.IntegerField(null=True, help_text="All that are not purged.")
    tenants_active = models.IntegerField(null=True)
    tenants_suspended = models.IntegerField(null=True)
    tenants_failed = models.IntegerField(null=True)
    operations_pending = models.IntegerField(null=True)
    operations_running = models.IntegerField(null=True)
    operations_stuck = models.IntegerField(null=True, help_text="Open, and nobody beats for them.")
    operations_failed = models.IntegerField(null=True, help_text="Within the last hour.")
    oldest_pending_seconds = models.FloatField(null=True)
    queue_depth = models.IntegerField(null=True, help_text="Messages that wait in Redis.")
    worker_seen_seconds = models.FloatField(null=True, help_text="Since a worker was last seen.")
    beat_seen_seconds = models.FloatField(null=True, help_text="Since beat last sent anything.")
    slots_ready = models.IntegerField(null=True)
    audit_unsealed = models.IntegerField(null=True)

    class Meta(Sample.Meta):
        abstract = True


class TenantActivity(_Activity):
    """As taken."""

    class Meta(_Activity.Meta):
        db_table = "monitoring_tenant_activity"


class TenantActivity5m(_Activity):
    """Over five minutes."""

    class Meta(_Activity.Meta):
        db_table = "monitoring_tenant_activity_5m"


class TenantActivityDaily(_Activity):
    """Over a day."""

    class Meta(_Activity.Meta):
        db_table = "monitoring_tenant_activity_daily"


class TenantSize(_Size):
    """As taken."""

    class Meta(_Size.Meta):
        db_table = "monitoring_tenant_size"


class TenantSize5m(_Size):
    """Over five minutes."""

    class Meta(_Size.Meta):
        db_table = "monitoring_tenant_size_5m"


class TenantSizeDaily(_Size):
    """Over a day."""

    class Meta(_Size.Meta):
        db_table = "monitoring_tenant_size_daily"


class ClusterSample(_Cluster):
    """As taken."""

    class Meta(_Cluster.Meta):
        db_table = "monitoring_cluster"


class ClusterSample5m(_Cluster):
    """Over five minutes."""

    class Meta(_Cluster.Meta):
        db_table = "monitoring_cluster_5m"


class ClusterSampleDaily(_Cluster):
    """Over a day."""

    class Meta(_Cluster.Meta):
        db_table = "monitoring_cluster_daily"


class FleetSample(_Fleet):
    """As taken."""

    class Meta(_Fleet.Meta):
        db_table = "monitoring_fleet"


class FleetSample5m(_Fleet):
    """Over five minutes."""

    class Meta(_Fleet.Meta):
        db_table = "monitoring_fleet_5m"


class FleetSampleDaily(_Fleet):
    """Over a day."""

    class Meta(_Fleet.Meta):
        db_table = "monitoring_fleet_daily"
