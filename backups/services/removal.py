"""Retention at work: what goes is decided, guarded, marked, deleted; and what the dead left is reaped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from backups.errors import RetentionStopped
from backups.models import Backup, BackupCopy, Storage
from backups.services import history
from backups.services.common import remove_copy
from backups.services.unknown import note_unknown
from backups.storage.base import Locked, StorageError
from backups.storage.opening import open_storage
from tenants import audit, operations
from tenants.actors import BEAT, SYSTEM
from tenants.exceptions import ControlPlaneError
from tenants.models import Operation, Tenant
from tenants.models.operations import OPEN_STATES
from tenants.operations import Run

log = logging.getLogger(__name__)
State = Backup.State
Copy = BackupCopy.State
PAGE = 200
SWEEP_AFTER = timedelta(hours=6)
RETRY_LOCKED = timedelta(hours=1)
# A restore takes one of the present state before, a recovery one of the state at its moment.
TAKING = ("backup.take", "backup.restore", "backup.restore_tables", "backup.recover")


def expire_due(limit: int = 1_000) -> int:
    """Begin to remove what no policy keeps, tenant by tenant. Returns how many operations were begun."""
    has = Backup.objects.filter(origin_id=OuterRef("pk"), state=State.SUCCEEDED)
    tenants = Tenant.objects.filter(Exists(has)).select_related("plan", "cluster").order_by("pk")
    begun, after = 0, None
    while begun < limit:
        page = list((tenants.filter(pk__gt=after) if after else tenants)[:PAGE])
        if not page:
            break
        after = page[-1].pk
        decisions = history.decide(page)
        for tenant in page:
            if (doomed := decisions[tenant.pk].doomed) and not _expiring(tenant):
                begun += _begin(tenant, doomed)
    return begun


def expire_tenant(tenant: Tenant) -> int:
    """As `expire_due`, for one tenant."""
    doomed = history.decide([tenant])[tenant.pk].doomed
    return _begin(tenant, doomed) if doomed and not _expiring(tenant) else 0


def _expiring(tenant: Tenant) -> bool:
    return Operation.objects.filter(tenant=tenant, kind="backup.expire", state__in=OPEN_STATES).exists()


def _begin(tenant: Tenant, doomed: Sequence[Any]) -> int:
    with transaction.atomic():
        operations.create(
            "backup.expire", tenant=tenant, exclusive=False, params={"backups": [str(each) for each in doomed]},
            actor=SYSTEM, source=BEAT,
        )  # fmt: skip
    return 1


def mark(run: Run) -> None:
    """Decide once more, with the rows locked; let the guard object; mark what goes. Raises RetentionStopped."""
    tenant, now = run.tenant, timezone.now()
    wanted = set(run.operation.params["backups"])
    with transaction.atomic():
        rows = list(Backup.objects.select_for_update(of=("self",)).filter(origin_id=tenant.pk, state__in=history.SEEN))
        found = history.decide([tenant], now)[tenant.pk]
        doomed = [each for each in found.doomed if str(each) in wanted]
        if complaints := found.complaints(doomed, now):
            log.critical("backup.retention_stopped", extra={"tenant": str(tenant.pk), "why": complaints[:5]})
            raise RetentionStopped(f"Retention would have gone too far: {'; '.join(complaints[:5])}.")
        for backup in rows:
            if backup.pk in doomed:
                _mark_one(run, backup)


def _mark_one(run: Run, backup: Backup) -> None:
    Backup.objects.filter(pk=backup.pk, state=State.SUCCEEDED).update(state=State.EXPIRING)
    backup.copies.filter(state__in=[Copy.STORED, Copy.DAMAGED]).update(state=Copy.DELETING)
    audit.record(
        "backup.expire", actor=run.actor, source=run.source, tenant=backup.tenant, target=backup,
        before={"state": State.SUCCEEDED}, after={"state": State.EXPIRING, "backup": str(backup)},
    )  # fmt: skip


def delete_marked(backups: Sequence[Any], *, alive: Callable[[], None]) -> int:
    """Delete the files of these, as far as they are marked; what a lock protects is left for later. Raises
    StorageError."""
    rows = BackupCopy.objects.filter(backup__in=backups, state=Copy.DELETING, backup__state=State.EXPIRING)
    count = 0
    for copy in rows.select_related("storage"):
        alive()
        count += delete_copy(copy)
    settle(backups)
    return count


def delete_copy(copy: BackupCopy) -> bool:
    """Delete a copy's files. False when a lock keeps them. Raises StorageError."""
    now = timezone.now()
    try:
        remove_copy(copy)
    except Locked as error:
        until = max(error.extra.get("until") or now, now + RETRY_LOCKED)
        BackupCopy.objects.filter(pk=copy.pk).update(state=Copy.DELETING, locked_until=until, error=str(error)[:500])
        return False
    BackupCopy.objects.filter(pk=copy.pk).update(state=Copy.DELETED, deleted_at=now, error="")
    return True


def settle(backups: Sequence[Any]) -> None:
    """Those of which no file is left have expired."""
    left = BackupCopy.objects.filter(backup=OuterRef("pk")).exclude(state=Copy.DELETED)
    Backup.objects.filter(~Exists(left), pk__in=backups, state=State.EXPIRING).update(state=State.EXPIRED)


def reap(limit: int = 500) -> int:
    """Take away what nobody works on any more: files of attempts that died, of copies that failed, of backups that
    were being removed; and what dead writers left in the storages. Returns how many copies."""
    now = timezone.now()
    _fail_orphans()
    rows = BackupCopy.objects.filter(state__in=[Copy.FAILED, Copy.DELETING]).select_related("storage")
    rows = rows.filter(Q(locked_until__isnull=True) | Q(locked_until__lte=now))
    count, touched = 0, set()
    for copy in rows.order_by("created_at")[:limit]:
        touched.add(copy.backup_id)
        try:
            count += delete_copy(copy)
        except ControlPlaneError as error:
            BackupCopy.objects.filter(pk=copy.pk).update(error=str(error)[:500])
            log.warning("backup.reap_failed", extra={"copy": copy.pk, "error": error.code})
    settle(list(touched))
    return count


def _fail_orphans() -> None:
    """Copies that are said to be written by operations that are over."""
    working = Operation.objects.filter(pk=OuterRef("backup__operation"), kind__in=TAKING, state__in=OPEN_STATES)
    copying = Operation.objects.filter(kind="backup.copy", state__in=OPEN_STATES).values_list("params", flat=True)
    kept = [params["copy"] for params in copying]
    BackupCopy.objects.filter(~Exists(working), state=Copy.WRITING).exclude(pk__in=kept).update(
        state=Copy.FAILED, error="Its operation ended without it."
    )


def sweep_storages() -> int:
    """Have every storage forget what writers left unfinished, and look for what nobody here knows. Returns how many
    objects went."""
    count = 0
    for row in Storage.objects.all():
        try:
            count += len(open_storage(row).sweep(timezone.now() - SWEEP_AFTER))
            note_unknown(row)
        except StorageError as error:
            log.warning("backup.sweep_failed", extra={"storage": row.name, "error": error.code})
    return count
