"""The scheduler: who is due when, and taking what is due, one tenant after another, in a few lanes a cluster.

A lane is a worker that takes small tenants' backups without a message and an operation's whole ceremony for each.
After an outage everybody is due at once; the lanes keep that from being a stampede: most overdue first, never more at
the same time than cluster and storage bear.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count
from django.utils import timezone

from backups import capturing
from backups.engine.proof import changed_since
from backups.errors import NoStorage
from backups.models import Backup, BackupStatus
from backups.schedule import next_slot
from backups.services import policies, take
from backups.services.policies import Effective
from backups.workflows import TakeRun
from tenants import audit
from tenants.actors import BEAT, SYSTEM
from tenants.exceptions import Conflict, ControlPlaneError
from tenants.models import Cluster, Tenant
from tenants.postgres import Dsn, load_queries

log = logging.getLogger(__name__)
QUERIES = load_queries(Path(__file__).parent.with_name("queries.sql"))

SCHEDULED = (Tenant.State.ACTIVE, Tenant.State.SUSPENDED)
PLAN_PAGE = 1_000
CHUNK = 25
LANE_SECONDS = 10.0
CLOCK_TOLERANCE = timedelta(minutes=5)
BUSY_PAUSE = timedelta(minutes=1)
NO_STORAGE_PAUSE = timedelta(hours=1)


def plan_ahead(now: datetime | None = None) -> int:
    """Work out when those are due that have no time: new tenants, those whose policy has changed, and those whose time
    a clock has said that was set back since. Returns how many."""
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["begin_status"], {"now": now})
        cursor.execute(QUERIES["clock_set_back"], {"now": now, "limit": now + CLOCK_TOLERANCE})
    rows = list(
        BackupStatus.objects.filter(planned_at__isnull=True)
        .select_related("tenant__plan", "tenant__cluster").order_by("since")[:PLAN_PAGE]
    )  # fmt: skip
    found = policies.of_tenants([row.tenant for row in rows])
    for row in rows:
        policy = found[row.tenant_id].policy
        slot = next_slot(policy, row.tenant_id, now) if policy.enabled else None
        row.next_at, row.window_ends_at = (slot.due, slot.until) if slot else (None, None)
        row.overdue_at = (row.covered_until or row.since) + timedelta(hours=policy.alert_after_hours)
        row.overdue_at = row.overdue_at if policy.enabled else None
        row.planned_at = now
    BackupStatus.objects.bulk_update(rows, ["next_at", "window_ends_at", "overdue_at", "planned_at"])
    return len(rows)


def clusters_with_due(now: datetime | None = None) -> dict[int, int]:
    """Ids of clusters on which somebody is due, with how many."""
    rows = _due(now or timezone.now()).order_by().values("tenant__cluster").annotate(count=Count("pk"))
    return {row["tenant__cluster"]: row["count"] for row in rows}


def _due(now: datetime) -> Any:
    return BackupStatus.objects.filter(next_at__lte=now, tenant__state__in=SCHEDULED)


@contextmanager
def lane(cluster_id: int) -> Iterator[int | None]:
    """A place among those in which backups of a cluster are taken; None when all are in use."""
    for number in range(settings.BACKUP_CLUSTER_CONCURRENCY):
        place = {"cluster": cluster_id, "number": number}
        with connection.cursor() as cursor:
            cursor.execute(QUERIES["lane"], place)
            if cursor.fetchone() != (True,):
                continue
        try:
            yield number
        finally:
            with connection.cursor() as cursor:
                cursor.execute(QUERIES["leave_lane"], place)
        return
    yield None


@dataclass
class Done:
    """What a lane did."""

    taken: int = 0
    unchanged: int = 0
    missed: int = 0
    failed: int = 0

    @property
    def any(self) -> bool:
        """Whether it found anything to do."""
        return bool(self.taken or self.unchanged or self.missed or self.failed)


def run_lane(cluster_id: int, *, seconds: float = LANE_SECONDS) -> Done:
    """Take what is due on a cluster, most overdue first, until nothing is or the time is over."""
    done, end = Done(), time.monotonic() + seconds
    with lane(cluster_id) as number:
        if number is None:
            return done
        while time.monotonic() < end and (chunk := _chunk(cluster_id)):
            known = Known(policies.of_tenants([status.tenant for status in chunk]), chunk[0].tenant.cluster)
            turns = [_one(status, known, done, end) for status in chunk]
            if not any(turns):
                break  # nothing could be begun: busy tenants, or a storage that is full of work
    return done


def _chunk(cluster_id: int) -> list[BackupStatus]:
    rows = _due(timezone.now()).filter(tenant__cluster=cluster_id).order_by("next_at")
    rows = rows.select_related("tenant__plan", "tenant__cluster", "tenant__slot", "last_backup")
    return list(rows.prefetch_related("tenant__domains", "tenant__roles")[:CHUNK])


class Known:
    """What is read once for a chunk of tenants of one cluster: their policies, who reads them, and how many backups are
    being written to each storage."""

    def __init__(self, found: Mapping[Any, Effective], cluster: Cluster) -> None:
        self.policies, self._cluster = found, cluster
        with connection.cursor() as cursor:
            cursor.execute(QUERIES["busy_storages"], {"now": timezone.now()})
            self.writing: dict[int, int] = dict(cursor.fetchall())

    @functools.cached_property
    def dsn(self) -> Dsn:
        """Who reads. Raises NoBackupLogin: in each tenant's turn, whose page then says so."""
        return capturing.reader(self._cluster)


def _one(status: BackupStatus, known: Known, done: Done, end: float) -> bool:
    """What one tenant's turn comes to; False when it was not its turn."""
    if time.monotonic() > end:
        return False
    now, found = timezone.now(), known.policies[status.tenant_id]
    slot = next_slot(found.policy, status.tenant_id, now) if found.policy.enabled else None
    late = status.window_ends_at is not None and now > status.window_ends_at
    try:
        if slot is None or (late and not found.policy.catch_up):
            done.missed += _take_turn(status, slot, now)
        elif _unchanged(status, found, known.dsn, now):
            done.unchanged += _note_unchanged(status, status.last_backup, found, slot, now)
        else:
            return _take(status, known, slot, now, done)
    except ControlPlaneError as error:
        done.failed += 1
        log.warning("backup.not_begun", extra={"tenant": str(status.tenant_id), "error": error.code})
        # Without a storage nothing changes within minutes, and everybody would ask.
        pause = NO_STORAGE_PAUSE if isinstance(error, NoStorage) else BUSY_PAUSE
        BackupStatus.objects.filter(pk=status.pk, next_at=status.next_at).update(
            next_at=now + pause, last_error=str(error)[:500]
        )
        return False
    return True


def _take_turn(status: BackupStatus, slot: Any, now: datetime) -> bool:
    values = {
        "tenant": status.tenant_id, "was": status.next_at, "now": now,
        "next_at": slot.due if slot else None, "window_ends_at": slot.until if slot else None,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["take_turn"], values)
        return bool(cursor.rowcount)


def _unchanged(status: BackupStatus, found: Effective, dsn: Dsn, now: datetime) -> bool:
    """Whether the tenant is proven to be as in its last backup, which is whole and not too old."""
    last, policy = status.last_backup, found.policy
    if not policy.skip_unchanged or last is None or not last.restorable or last.snapshot_at is None:
        return False
    if now - last.snapshot_at > timedelta(days=policy.unchanged_max_days):
        return False
    if last.schema_name != status.tenant.schema_name or last.cluster_id != status.tenant.cluster_id:
        return False
    return not changed_since(dsn, status.tenant.schema_name, last.proof)


def _note_unchanged(status: BackupStatus, last: Any, found: Effective, slot: Any, now: datetime) -> bool:
    with transaction.atomic():
        if not _take_turn(status, slot, now):
            return False
        # A restore, a removal, somebody's damage: then it is no proof of anything.
        if not Backup.objects.filter(pk=last.pk, state=Backup.State.SUCCEEDED, damaged_at__isnull=True).update(
            unchanged_until=now
        ):
            raise Conflict("The last backup is not there any more.", code="state_changed")
        overdue_at = now + timedelta(hours=found.policy.alert_after_hours)
        BackupStatus.objects.filter(pk=status.pk).update(
            covered_until=now, overdue_at=overdue_at, failures=0, last_error=""
        )
        audit.record(
            "backup.unchanged", actor=SYSTEM, source=BEAT, tenant=status.tenant, target=last,
            after={"unchanged_until": now.isoformat()},
        )  # fmt: skip
    return True


def _take(status: BackupStatus, known: Known, slot: Any, now: datetime, done: Done) -> bool:
    found = known.policies[status.tenant_id]
    place = take.check_storage(found.storage)
    if known.writing.get(place.pk, 0) >= place.concurrency:
        return False
    with transaction.atomic():
        if not _take_turn(status, slot, now):
            return False
        asked = take.begin(status.tenant, found, origin=Backup.Origin.SCHEDULED, inline=True, actor=SYSTEM, source=BEAT)
    run = TakeRun(asked.operation, asked.backup, asked.copy, known.dsn)
    run.perform()
    done.taken += run.error is None
    done.failed += run.error is not None
    return True


def overdue(now: datetime | None = None) -> Any:
    """Statuses of tenants whose last good backup is older than their policy allows, the worst first."""
    rows = BackupStatus.objects.filter(overdue_at__lte=now or timezone.now(), tenant__state__in=SCHEDULED)
    return rows.select_related("tenant__plan", "tenant__cluster", "last_backup").order_by("overdue_at")
