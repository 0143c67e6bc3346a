"""What beat does to keep promises: overlaps end, grace periods end, partitions are made ahead."""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import timedelta

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from provisioning import services, slots
from provisioning.models import MigratorWindow, SchemaSlot, TenantCredential
from provisioning.workflows import QUERIES
from tenants.actors import BEAT, SYSTEM
from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, ClusterLogin, Tenant, TenantRole
from tenants.postgres import connect
from tenants.schemas import compiler, roles, timeseries

Purpose = ClusterLogin.Purpose
log = logging.getLogger(__name__)

# Longer than any import takes.
SCRATCH_AGE = timedelta(hours=6)
# A policy that is new makes many logins too old at once; they are rotated a few at a time.
ROTATIONS_A_TICK = 20


def watch_logins() -> int:
    """Note when retiring and additional logins were last used: one query a server, whatever their number.

    Returns how many were seen. What a session did between two looks and before it ended is not seen.
    """
    watched: dict[int, dict[str, TenantRole | TenantCredential]] = defaultdict(dict)
    for role in TenantRole.objects.filter(state=TenantRole.State.RETIRING).select_related("tenant__cluster"):
        watched[_server_of(role.tenant)][role.name] = role
    for lent in TenantCredential.objects.filter(closed_at__isnull=True).select_related("tenant__cluster"):
        watched[_server_of(lent.tenant)][lent.login] = lent
    count = 0
    for cluster in Cluster.objects.filter(pk__in=watched):
        try:
            with connect(cluster.dsn(Purpose.MONITOR), autocommit=True) as link:
                seen = roles.last_seen(link, list(watched[cluster.pk]))
        except ControlPlaneError as error:
            log.warning("login.watch_failed", extra={"cluster": cluster.name, "error": error.code})
            continue
        now = timezone.now()
        rows = [watched[cluster.pk][name] for name in seen]
        for row, seconds in zip(rows, seen.values(), strict=True):
            row.last_seen_at = now - timedelta(seconds=seconds)
        TenantRole.objects.bulk_update([row for row in rows if isinstance(row, TenantRole)], ["last_seen_at"])
        lent_rows = [row for row in rows if isinstance(row, TenantCredential)]
        TenantCredential.objects.bulk_update(lent_rows, ["last_seen_at"])
        count += len(rows)
    return count


def _server_of(tenant: Tenant) -> int:
    cluster = tenant.cluster
    return int(cluster.host_cluster_id or cluster.pk)


def retire_logins() -> int:
    """Close logins whose time is over. A tenant that is busy is left for the next time. Returns how many."""
    watch_logins()
    due = services.logins_to_close(timezone.now())
    tenants = Tenant.objects.filter(roles__in=due).select_related("cluster__provisioner", "plan").distinct()
    count = 0
    for tenant in tenants:
        try:
            count += services.retire_logins(tenant, actor=SYSTEM, source=BEAT)
        except ControlPlaneError as error:
            log.warning("login.retire_failed", extra={"tenant": str(tenant.pk), "error": error.code})
    return count


def rotate_due(limit: int = ROTATIONS_A_TICK) -> int:
    """Rotate the logins that are older than their plans allow, the most overdue first. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["logins_to_rotate"], {"limit": limit})
        due = [row[0] for row in cursor.fetchall()]
    count = 0
    for tenant_id in due:
        try:
            services.rotate_by_policy(tenant_id=tenant_id, actor=SYSTEM, source=BEAT)
            count += 1
        except ControlPlaneError as error:
            log.warning("login.rotate_failed", extra={"tenant": str(tenant_id), "error": error.code})
    return count


def close_credentials() -> int:
    """Close additional logins whose time is over, or whose tenant is no longer active. Returns how many."""
    active = Q(tenant__state=Tenant.State.ACTIVE)
    due = TenantCredential.objects.filter(~active | Q(expires_at__lte=timezone.now()), closed_at__isnull=True)
    count = 0
    for pk, tenant_id in due.values_list("pk", "tenant_id"):
        try:
            services.close_credential(
                tenant_id=tenant_id, credential_id=pk, reason="Its time was over.", actor=SYSTEM, source=BEAT
            )
            count += 1
        except ControlPlaneError as error:
            log.warning("credential.close_failed", extra={"tenant": str(tenant_id), "error": error.code})
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
    for cluster in Cluster.objects.filter(state=Cluster.State.ACTIVE, host_cluster=None):
        try:
            with connect(cluster.dsn(), autocommit=True) as link:
                count += len(compiler.drop_stale_scratch(link, SCRATCH_AGE))
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
        .select_related("cluster__provisioner", "template_version")
        .defer("template_version__script")
    )
    by_cluster = defaultdict(list)
    for slot in rows:
        by_cluster[slot.cluster].append((slot.schema_name, slots.time_series(slot.template_version)))
    changed = 0
    for cluster, work in by_cluster.items():
        try:
            with connect(cluster.work_dsn(), autocommit=True) as link:
                report = timeseries.maintain(link, work, timezone.now())
            changed += len(report.created) + len(report.dropped)
            for schema, why in report.failed.items():
                log.warning("timeseries.schema_failed", extra={"schema": schema, "error": why})
        except ControlPlaneError as error:
            log.warning("timeseries.failed", extra={"cluster": cluster.name, "error": str(error)})
    return changed
