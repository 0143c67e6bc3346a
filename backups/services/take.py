"""Asking for backups, and writing down that they are there."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from backups import capturing
from backups.errors import NoStorage
from backups.models import Backup, BackupCopy, Storage
from backups.services import policies
from backups.services.common import prefix_of
from tenants import audit, operations
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import Operation, Tenant

MAX_KEEP_DAYS = 36_500
MAX_NOTE = 500
# What has a schema.
BACKED_UP = (Tenant.State.ACTIVE, Tenant.State.SUSPENDED, Tenant.State.DELETED)


@dataclass(frozen=True)
class Asked:
    """A backup that was begun, and the operation that takes it."""

    backup: Backup
    operation: Operation
    copy: BackupCopy


def backup_tenant(
    *,
    tenant_id: Any,
    note: str = "",
    keep_days: int | None = None,
    pinned: bool = False,
    origin: str = Backup.Origin.MANUAL,
    storage: Storage | None = None,
    actor: Actor,
    source: Source,
) -> Asked:
    """Have a tenant backed up now, by a worker. With `keep_days` it has its own retention; `pinned` it stays until
    somebody takes that away.

    Raises NotFound, Conflict `wrong_state` and `operation_in_progress`, NoStorage, NoBackupLogin, InvalidInput.
    """
    tenant = Tenant.objects.select_related("plan", "cluster").filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound(f"There is no tenant {tenant_id}.")
    if tenant.state not in BACKED_UP:
        raise Conflict(
            f"A tenant that is {tenant.state} cannot be backed up.", code="wrong_state", state=tenant.state,
            hint=f"It must be {', '.join(BACKED_UP[:-1])} or {BACKED_UP[-1]}.",
        )  # fmt: skip
    note, keep_until = check_note(note), _until(keep_days)
    capturing.reader(tenant.cluster)  # asked for here, so that who asks for a backup is told
    found = policies.effective(tenant)
    with transaction.atomic():
        asked = begin(
            tenant, found, storage=storage, origin=origin, note=note, pinned=pinned, keep_until=keep_until,
            actor=actor, source=source,
        )  # fmt: skip
        after: dict[str, Any] = {"origin": origin, "note": note, "storage": asked.copy.storage.name}
        after |= {"pinned": True} if pinned else {}
        after |= {"keep_until": keep_until.isoformat()} if keep_until else {}
        audit.record("backup.request", actor=actor, source=source, tenant=tenant, target=asked.backup, after=after)
    return asked


def begin(
    tenant: Tenant,
    found: policies.Effective,
    *,
    origin: str,
    storage: Storage | None = None,
    inline: bool = False,
    actor: Actor,
    source: Source,
    **values: Any,
) -> Asked:
    """Write down that a backup begins: operation, backup and where its files will lie, in the caller's transaction and
    by one statement. Raises Conflict `operation_in_progress`, NoStorage."""
    place = check_storage(storage or found.storage)
    now = timezone.now()
    operation_id = uuid.uuid4()
    backup = Backup(
        tenant=tenant, cluster=tenant.cluster, operation_id=operation_id, origin_id=tenant.pk, slug=tenant.slug,
        schema_name=tenant.schema_name, template=tenant.template, template_version=tenant.template_version,
        origin=origin, requested_by=actor.label[:150], created_at=now, **values,
    )  # fmt: skip
    copy = BackupCopy(backup=backup, storage=place, prefix=prefix_of(tenant.pk, backup.pk), primary=True)
    operation = operations.create(
        "backup.take", id=operation_id, tenant=tenant, inline=inline, along_with=[backup, copy],
        params={"backup": str(backup.pk), "alert_after_hours": found.policy.alert_after_hours,
                "copies": [each.pk for each in found.copies if each.pk != place.pk]},
        actor=actor, source=source,
    )  # fmt: skip
    return Asked(backup, operation, copy)


def check_storage(place: Storage | None) -> Storage:
    """`place`, if backups can go there. Raises NoStorage."""
    if place is None:
        raise NoStorage(
            "There is no storage for backups.", hint="Add one: manage.py backup_storage add --help, or in the admin."
        )
    if place.state != Storage.State.ACTIVE:
        raise NoStorage(f"The storage {place.name} is disabled.", hint="Enable it, or choose another in the policy.")
    return place


def check_note(note: str) -> str:
    """`note` without blanks at its ends. Raises InvalidInput."""
    if not isinstance(note, str) or len(note) > MAX_NOTE or any(ord(c) < 32 for c in note):
        raise InvalidInput(f"A note is one line of at most {MAX_NOTE} characters.", field="note")
    return note.strip()


def _until(days: int | None) -> datetime | None:
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_KEEP_DAYS:
        raise InvalidInput(f"A backup is kept for 1 to {MAX_KEEP_DAYS} days.", field="keep_days")
    return timezone.now() + timedelta(days=days)


def change_backup(
    *,
    backup: Backup,
    note: str | None = None,
    pinned: bool | None = None,
    keep_days: int | None = None,
    actor: Actor,
    source: Source,
) -> Backup:
    """Change a backup's note, pin it or take that away, or keep it `keep_days` from now on (0: as its policy says).

    Raises Conflict when it is gone, InvalidInput.
    """
    changes: dict[str, Any] = {}
    if note is not None:
        changes["note"] = check_note(note)
    if pinned is not None:
        changes["pinned"] = pinned
    if keep_days is not None:
        changes["keep_until"] = _until(keep_days) if keep_days else None
    with transaction.atomic():
        row = Backup.objects.select_for_update(of=("self",)).get(pk=backup.pk)
        if row.state not in (Backup.State.RUNNING, Backup.State.SUCCEEDED):
            raise Conflict(f"A backup that is {row.state} cannot be kept.", code="wrong_state", state=row.state)
        before = {name: getattr(row, name) for name, value in changes.items() if getattr(row, name) != value}
        if not before:
            return row
        for name in before:
            setattr(row, name, changes[name])
        row.save(update_fields=list(before))
        audit.record(
            "backup.change", actor=actor, source=source, tenant=row.tenant, target=row,
            before=_plain(before), after=_plain({name: changes[name] for name in before}),
        )  # fmt: skip
    return row


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def retry_take(failed: Operation, actor: Actor, source: Source) -> Operation:
    """Take a backup that failed once more, as a new one, in the caller's transaction."""
    was = Backup.objects.filter(operation=failed).first()
    if failed.tenant is None or was is None or failed.tenant.state not in BACKED_UP:
        raise Conflict("There is nothing to back up any more.", code="wrong_state")
    found = policies.effective(failed.tenant)
    again = begin(
        failed.tenant, found, origin=was.origin, note=was.note, pinned=was.pinned, keep_until=was.keep_until,
        actor=actor, source=source,
    )  # fmt: skip
    Operation.objects.filter(pk=again.operation.pk).update(retry_of=failed)
    return again.operation
