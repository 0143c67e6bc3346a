"""Backups' keys, wrapped anew by the newest key of the ring, so that an older one can be taken away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from backups.engine.errors import BackupError
from backups.engine.keys import KeyRing
from backups.engine.manifest import rewrap
from backups.models import Backup, BackupCopy
from backups.services.common import MANIFEST, keyring
from backups.storage.base import StorageError
from backups.storage.opening import open_storage
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError
from tenants.models import Tenant

State = Backup.State
Copy = BackupCopy.State
# What can be restored, or will be once it is taken.
HELD = (State.RUNNING, State.SUCCEEDED)
Tell = Callable[[int], None]


@dataclass
class Rewrapped:
    """`under`: how many backups there are by the key that opens them. `failed`: those that stay as they are, and why.
    `removable`: keys that nothing needs any more; `missing`: those that are needed and not there."""

    newest: str
    under: dict[str, int]
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    removable: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def survey() -> Rewrapped:
    """What is under which key now. Raises KeyMissing when there is no key at all."""
    ring = keyring()
    found = Rewrapped(ring.newest(), _under())
    _judge(found, ring)
    return found


def rewrap_keys(*, tenant: Tenant | None = None, actor: Actor, source: Source, tell: Tell | None = None) -> Rewrapped:
    """Wrap the key of every backup (or of this tenant's) that is not under the newest one yet.

    Only manifests' headers are written. A backup is done when all its copies are, and what is done is left alone, so it
    can be begun again after a kill.
    One that cannot be (a key that is gone, a storage that does not answer, a copy being written) is named, and the
    others go on. Raises KeyMissing when there is no key at all.
    """
    ring = keyring()
    found = Rewrapped(ring.newest(), {})
    rows = _outdated(found.newest)
    for backup in (rows.filter(origin_id=tenant.pk) if tenant else rows).iterator(chunk_size=200):
        try:
            _rewrap(backup, ring, actor, source)
        except ControlPlaneError as error:
            found.failed[str(backup.pk)] = str(error)
        else:
            found.done += 1
            if tell:
                tell(found.done)
    found.under = _under()
    _judge(found, ring)
    return found


def _outdated(newest: str) -> QuerySet[Backup]:
    """Not while another copy is being written: it would get the old header."""
    writing = BackupCopy.objects.filter(backup=OuterRef("pk"), state=Copy.WRITING)
    rows = Backup.objects.filter(~Exists(writing), state=State.SUCCEEDED)
    return rows.exclude(key_id=newest).order_by("pk")


def _rewrap(backup: Backup, ring: KeyRing, actor: Actor, source: Source) -> None:
    rows = backup.copies.select_related("storage")
    whole = list(rows.filter(state=Copy.STORED))
    if not whole:
        raise Conflict("No copy of it is whole.", code="no_copy")
    for copy in whole:
        _rewrap_copy(copy, ring)
    for copy in rows.filter(state=Copy.DAMAGED):  # should it be mended one day
        with suppress(BackupError, StorageError):
            _rewrap_copy(copy, ring)
    with transaction.atomic():
        if Backup.objects.filter(pk=backup.pk, key_id=backup.key_id).update(key_id=ring.newest()):
            audit.record(
                "backup.rewrap", actor=actor, source=source, tenant=backup.tenant, target=backup,
                before={"key_id": backup.key_id}, after={"key_id": ring.newest()},
            )  # fmt: skip


def _rewrap_copy(copy: BackupCopy, ring: KeyRing) -> None:
    storage = open_storage(copy.storage)
    if rewrap(storage, copy.prefix, ring) and copy.locked_until is not None:
        storage.lock(f"{copy.prefix}/{MANIFEST}", copy.locked_until)  # the new version of it, too


def _under() -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in Backup.objects.filter(state__in=HELD).exclude(key_id="").values_list("key_id", flat=True):
        counts[key] = counts.get(key, 0) + 1
    return counts


def _judge(found: Rewrapped, ring: KeyRing) -> None:
    """Which keys nothing needs any more, and which are needed and not there. While one is being taken none goes: nobody
    knows under which it is."""
    being_taken: Any = Backup.objects.filter(state=State.RUNNING, key_id="").exists()
    found.missing = sorted(set(found.under) - set(ring.keys))
    found.removable = [] if being_taken else [k for k in ring.keys if k != found.newest and k not in found.under]
