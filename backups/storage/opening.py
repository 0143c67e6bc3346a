"""From a row of the registry to the storage itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backups.storage.base import Storage
from backups.storage.limits import PacedStorage
from backups.storage.local import LocalStorage
from backups.storage.s3 import S3Options, S3Storage
from tenants import secrets

if TYPE_CHECKING:
    from backups import models


def open_storage(row: models.Storage) -> Storage:
    """The storage that a row describes, as fast as it may be written to. Connects to nothing yet.

    Raises SecretUnreadable.
    """
    where = LocalStorage(Path(row.config["path"])) if row.kind == "local" else S3Storage(s3_options(row))
    return PacedStorage(where, row.bandwidth) if row.bandwidth else where


def s3_options(row: models.Storage) -> S3Options:
    """Where a bucket is, with its secret key in clear. Raises SecretUnreadable."""
    options = S3Options(**row.config, lock_mode=row.lock_mode.upper() if row.lock_mode != "none" else "")
    return replace(options, secret_access_key=secrets.decrypt(row.secret)) if row.secret else options
