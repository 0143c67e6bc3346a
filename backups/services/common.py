"""What the services around backups share."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from backups.engine.keys import KeyRing
from backups.models import Backup, BackupCopy
from backups.storage.base import Locked, Storage
from backups.storage.opening import open_storage
from tenants.exceptions import NotFound
from tenants.models import Tenant

MANIFEST = "manifest.json"


def keyring() -> KeyRing:
    """The keys of backups. Raises InvalidInput for a setting that holds something else."""
    return KeyRing.parse(settings.BACKUP_ENCRYPTION_KEYS)


def get_backup(backup_id: Any) -> Backup:
    """The backup with this id. Raises NotFound, also for what is no id."""
    try:
        return Backup.objects.select_related("tenant", "cluster", "operation").get(pk=backup_id)
    except (Backup.DoesNotExist, ValidationError, ValueError) as error:
        raise NotFound(f"There is no backup {backup_id}.") from error


def files_id(backup_id: uuid.UUID, attempt: int) -> uuid.UUID:
    """What an attempt's files are called: another name for each, so that a worker that is believed dead and is not
    cannot write among those of its successor."""
    return backup_id if attempt == 1 else uuid.uuid5(backup_id, f"attempt {attempt}")


def prefix_of(tenant_id: Any, files: uuid.UUID) -> str:
    """Where in a storage a tenant's backup lies."""
    return f"{tenant_id}/{files}"


def template_version(tenant: Tenant) -> Any:
    """The template version that a tenant's schema is a copy of (a row of provisioning's, which nobody here imports), or
    None when that is not known."""
    slot = getattr(tenant, "slot", None)
    return getattr(slot, "template_version", None)


def remove_files(storage: Storage, prefix: str) -> None:
    """Take away what lies below a prefix: the manifest first, from which moment it is no backup. Raises Locked when
    something has to stay, after all else was tried."""
    locked: Locked | None = None
    keys = [found.key for found in storage.list(prefix)]
    for key in sorted(keys, key=lambda key: (not key.endswith(f"/{MANIFEST}"), key)):
        try:
            storage.delete(key)
        except Locked as error:
            locked = error
    if locked is not None:
        raise locked


def remove_copy(copy: BackupCopy) -> None:
    """Take away a copy's files. Raises StorageError, Locked."""
    remove_files(open_storage(copy.storage), copy.prefix)
