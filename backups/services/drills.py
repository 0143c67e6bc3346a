"""Proving backups by restoring them: asked for, or in turn, so that every tenant comes often enough."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from backups.models import Backup, RestoreDrill
from backups.services import policies
from backups.services.sources import copies_of
from tenants import audit, operations
from tenants.actors import BEAT, SYSTEM, Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError
from tenants.identifiers import new_schema_name
from tenants.models import Cluster, Operation, Tenant
from tenants.postgres import load_queries

log = logging.getLogger(__name__)
QUERIES = load_queries(Path(__file__).parent.with_name("queries.sql"))
DRILLS_A_TICK = 5
# One that failed is tried again after a day, not at the next look.
PAUSE = timedelta(days=1)


@dataclass(frozen=True)
class Begun:
    """A drill that was begun, and the operation that holds it."""

    drill: RestoreDrill
    operation: Operation


def run_drill(*, backup: Backup, reason: str = "", actor: Actor, source: Source) -> Begun:
    """Have a backup restored into a scratch schema, compared with its snapshot and dropped, by a worker.

    On the cluster where it was taken, or on the default one when that is gone or disabled. Raises Conflict when it
    cannot be restored (`wrong_state`, `no_copy`), or is being proven already.
    """
    copies_of(backup)
    cluster = _place(backup)
    with transaction.atomic():
        Backup.objects.select_for_update(of=("self",)).get(pk=backup.pk)
        if backup.drills.filter(state=RestoreDrill.State.RUNNING).exists():
            raise Conflict("It is being proven already.", code="operation_in_progress")
        drill = RestoreDrill(backup=backup, tenant=backup.tenant, cluster=cluster, scratch_schema=new_schema_name())
        operation = operations.create(
            "backup.drill", tenant=backup.tenant, cluster=cluster, exclusive=False, reason=reason,
            params={"backup": str(backup.pk), "drill": str(drill.pk)}, actor=actor, source=source,
        )  # fmt: skip
        drill.operation = operation
        drill.save(force_insert=True)
        audit.record(
            "backup.drill_requested", actor=actor, source=source, tenant=backup.tenant, target=backup, reason=reason,
            after={"drill": str(drill.pk), "operation": str(operation.pk)},
        )  # fmt: skip
    return Begun(drill, operation)


def _place(backup: Backup) -> Cluster:
    wanted = backup.cluster
    if wanted is not None and wanted.state == Cluster.State.ACTIVE:
        return wanted
    found = Cluster.objects.filter(is_default=True).first()
    if found is None or found.server_version_num // 10_000 < backup.server_version // 10_000:
        raise Conflict("No cluster is there to restore it on.", code="server_older")
    return found


def drills_due(limit: int = DRILLS_A_TICK) -> int:
    """Have those backups proven whose turn it is, one at a time on each cluster. Returns how many.

    It is a tenant's turn when its last drill is older than its policy says, and at once when its newest backup is of
    another template version, format or PostgreSQL major than the one that was proven last.
    """
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["drill_candidates"], {"pause": timezone.now() - PAUSE})
        rows = cursor.fetchall()
    tenants = Tenant.objects.filter(pk__in=[row[0] for row in rows]).select_related("plan", "cluster")
    promised = policies.of_tenants(tenants)
    busy = set(RestoreDrill.objects.filter(state=RestoreDrill.State.RUNNING).values_list("cluster", flat=True))
    now, count = timezone.now(), 0
    for tenant_id, backup_id, cluster_id, last, changed in rows:
        found = promised.get(tenant_id)
        if found is None or not found.policy.drill_every_days or cluster_id in busy:
            continue
        if last is None or changed or last < now - timedelta(days=found.policy.drill_every_days):
            count += _begin(backup_id)
            busy.add(cluster_id)
        if count >= limit:
            break
    return count


def _begin(backup_id: Any) -> int:
    backup = Backup.objects.select_related("tenant", "cluster").get(pk=backup_id)
    try:
        run_drill(backup=backup, actor=SYSTEM, source=BEAT)
    except ControlPlaneError as error:
        log.warning("drill.not_begun", extra={"backup": str(backup.pk), "error": error.code})
        return 0
    return 1


def retry_drill(failed: Operation, actor: Actor, source: Source) -> Operation:
    """Prove the same backup once more, in the caller's transaction."""
    backup = Backup.objects.select_related("tenant", "cluster").filter(pk=failed.params["backup"]).first()
    if backup is None:
        raise Conflict("The backup is not in the registry any more.", code="backup_gone")
    again = run_drill(backup=backup, actor=actor, source=source).operation
    Operation.objects.filter(pk=again.pk).update(retry_of=failed)
    return again
