"""What beat does to keep promises: overlaps end, grace periods end, partitions are made ahead."""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import timedelta

from django.utils import timezone

from provisioning import compiler, services, slots, timeseries
from provisioning.models import MigratorWindow, SchemaSlot
from tenants.actors import BEAT, SYSTEM
from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, Tenant, TenantRole
from tenants.postgres import connect

log = logging.getLogger(__name__)

# Longer than any import takes.
SCRATCH_AGE = timedelta(hours=6)


def retire_logins() -> int:
    """Close logins whose overlap has ended. A tenant that is busy is left for the next time. Returns how many."""
    due = TenantRole.objects.filter(state=TenantRole.State.RETIRING, retire_at__lte=timezone.now())
    tenants = Tenant.objects.filter(roles__in=due).select_related("cluster", "plan").distinct()
    count = 0
    for tenant in tenants:
        try:
            count += services.retire_logins(tenant, actor=SYSTEM, source=BEAT)
        except ControlPlaneError as error:
            log.warning("login.retire_failed", extra={"tenant": str(tenant.pk), "error": error.code})
    return count


def close_migrators() -> int:
    """Close the migrators whose window is over. Returns how many."""
    due = MigratorWindow.objects.filter(closed_at__isnull=True, expires_at__lte=timezone.now())
    count = 0
    for tenant_id in due.values_list("tenant_id", flat=True):
        try:
            count += services.close_migrator(tenant_id=tenant_id, actor=SYSTEM, source=BEAT) is not None
        except ControlPlaneError as error:
            log.warning("migrator.close_failed", extra={"tenant": str(tenant_id), "error": error.code})
    return count


def purge_due() -> int:
    """Start the purge of every tenant whose grace period has ended. Returns how many."""
    services.expire_requests()
    due = Tenant.objects.filter(state=Tenant.State.DELETED, purge_after__lte=timezone.now())
    due = due.exclude(purge_requests__state="waiting")
    count = 0
    for tenant in due.exclude(operations__state__in=["pending", "running", "cancelling"])[:100]:
        try:
            begun = services.purge_tenant(
                tenant_id=tenant.pk,
                confirm_slug=tenant.slug,
                reason="The grace period has ended.",
                actor=SYSTEM,
                source=BEAT,
            )
            count += begun.operation is not None
        except ControlPlaneError as error:
            log.warning("tenant.purge_failed", extra={"tenant": str(tenant.pk), "error": error.code})
    return count


def drop_scratch() -> int:
    """Drop the scratch databases and roles of imports that were killed. Returns how many."""
    count = 0
    for cluster in Cluster.objects.filter(state=Cluster.State.ACTIVE):
        try:
            with connect(cluster.dsn(), autocommit=True) as connection:
                count += len(compiler.drop_stale_scratch(connection, SCRATCH_AGE))
        except ControlPlaneError as error:
            log.warning("scratch.drop_failed", extra={"cluster": cluster.name, "error": str(error)})
    return count


def maintain_timeseries() -> int:
    """Make partitions ahead and drop old ones for every schema that declares any, cluster by cluster.

    Returns how many partitions were made or dropped. A cluster that fails is logged and does not stop the others.
    """
    rows = (
        SchemaSlot.objects.filter(state__in=[SchemaSlot.State.READY, SchemaSlot.State.CLAIMED])
        .exclude(template_version__timeseries=[])
        .select_related("cluster", "template_version")
        .defer("template_version__script")
    )
    by_cluster = defaultdict(list)
    for slot in rows:
        by_cluster[slot.cluster].append((slot.schema_name, slots.time_series(slot.template_version)))
    changed = 0
    for cluster, work in by_cluster.items():
        try:
            with connect(cluster.dsn(), autocommit=True) as connection:
                report = timeseries.maintain(connection, work, timezone.now())
            changed += len(report.created) + len(report.dropped)
            for schema, why in report.failed.items():
                log.warning("timeseries.schema_failed", extra={"schema": schema, "error": why})
        except ControlPlaneError as error:
            log.warning("timeseries.failed", extra={"cluster": cluster.name, "error": str(error)})
    return changed
