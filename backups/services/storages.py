"""Storages, made, changed and tried under audit."""

from __future__ import annotations

import logging
import secrets as random
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from backups.models import Storage
from backups.storage.base import Locked, NotStored, StorageError
from backups.storage.opening import open_storage
from tenants import audit, secrets
from tenants.actors import BEAT, SYSTEM, Actor, Source
from tenants.exceptions import Conflict, ControlPlaneError, InvalidInput, NotFound

log = logging.getLogger(__name__)

LOCAL_OPTIONS = ("path",)
S3_OPTIONS = ("bucket", "prefix", "endpoint_url", "region", "access_key_id", "addressing_style")
EDITABLE = ("state", "is_default", "lock_mode", "lock_days", "bandwidth", "concurrency")
ADDRESSING = ("auto", "path", "virtual")
TEST_BYTES = 200_000
LOCK_SECONDS = 3


@dataclass(frozen=True)
class Tried:
    """What a try of a storage found: seconds for each act, and whether its lock holds (None: it has none)."""

    write_seconds: float
    read_seconds: float
    lock_holds: bool | None


def get_storage(name: str) -> Storage:
    """The storage of this name. Raises NotFound."""
    found = Storage.objects.filter(name=name).first() if "\0" not in name else None
    if found is None:
        names = ", ".join(Storage.objects.values_list("name", flat=True))
        raise NotFound(f"There is no storage '{name}'.", hint=f"There are: {names or 'none'}.")
    return found


def default_storage() -> Storage:
    """Where backups go whose policy names none. Raises NotFound."""
    found = Storage.objects.filter(is_default=True).first()
    if found is None:
        raise NotFound("There is no storage for backups.", hint="Add one: manage.py backup_storage add --help")
    return found


def create_storage(
    *,
    name: str,
    kind: str,
    config: dict[str, Any],
    secret: str = "",
    test: bool = True,
    actor: Actor,
    source: Source,
    **values: Any,
) -> Storage:
    """Add a storage. It is tried first, unless `test` is off; the first one is the default.

    Raises InvalidInput, Conflict `name_taken`, and StorageError saying what did not work.
    """
    _refuse_unknown(values)
    row = Storage(name=name, kind=kind, config=_checked(kind, config), **values)
    row.secret = secrets.encrypt(secret) if secret else ""
    row.is_default = row.is_default or not Storage.objects.filter(is_default=True).exists()
    _clean(row)
    if test:
        try_storage(row)
        row.checked_at = timezone.now()
    try:
        with transaction.atomic():
            _only_default(row)
            row.save(force_insert=True)
            audit.record("backup_storage.create", actor=actor, source=source, target=row, after=_described(row))
    except IntegrityError as error:
        raise Conflict(f"A storage '{name}' exists already.", code="name_taken") from error
    return row


def update_storage(
    *, storage: Storage, changes: dict[str, Any], secret: str = "", actor: Actor, source: Source
) -> Storage:
    """Change state, default, limits or lock, or the secret key (`access_key_id` among the changes goes with it).

    Where it is cannot be changed: what lies there would be lost from sight. Raises InvalidInput.
    """
    key_id = changes.pop("access_key_id", None)
    _refuse_unknown(changes)
    with transaction.atomic():
        row = Storage.objects.select_for_update().get(pk=storage.pk)
        before = _described(row)
        if row.is_default and changes.get("is_default") is False:
            raise InvalidInput("One storage is the default.", field="is_default", hint="Make another one the default.")
        for name, value in changes.items():
            setattr(row, name, value)
        if key_id is not None:
            row.config = _checked(row.kind, {**row.config, "access_key_id": key_id})
        if secret:
            row.secret = secrets.encrypt(secret)
        _clean(row)
        if row.is_default and row.state != Storage.State.ACTIVE:
            raise InvalidInput("The default storage has to take backups.", field="state")
        _only_default(row)
        row.save()
        after = _described(row)
        if before != after or secret:
            differs = {name: value for name, value in after.items() if before[name] != value}
            was = {name: before[name] for name in differs}
            more = {"secret": "changed"} if secret else {}
            audit.record("backup_storage.update", actor=actor, source=source, target=row, before=was,
                         after=differs | more)  # fmt: skip
    return row


def _described(row: Storage) -> dict[str, Any]:
    return {"kind": row.kind, "config": row.config, **{name: getattr(row, name) for name in EDITABLE}}


def _refuse_unknown(values: dict[str, Any]) -> None:
    if unknown := set(values) - set(EDITABLE):
        raise InvalidInput(f"A storage has no {min(unknown)} to set.", field=min(unknown))


def _clean(row: Storage) -> None:
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(messages[0], field=field) from error
    if not 1 <= row.concurrency <= 64:
        raise InvalidInput("1 to 64 backups can be written at the same time.", field="concurrency")
    locks = row.lock_mode != Storage.Lock.NONE
    if locks and row.kind != Storage.Kind.S3:
        raise InvalidInput("A directory cannot lock its files; an S3 bucket can.", field="lock_mode")
    if locks != bool(row.lock_days):
        raise InvalidInput("A lock has a mode and a number of days, or neither.", field="lock_days")


def _checked(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """What says where a storage is. Raises InvalidInput naming what is wrong."""
    known = LOCAL_OPTIONS if kind == Storage.Kind.LOCAL else S3_OPTIONS
    config = {name: value for name, value in config.items() if value not in ("", None)}
    if unknown := set(config) - set(known):
        raise InvalidInput(f"A storage of kind {kind} has no {min(unknown)}.", field=min(unknown))
    for name, value in config.items():
        if not isinstance(value, str) or not value.isprintable() or len(value) > 500:
            raise InvalidInput(f"This {name} is no line of text.", field=name)
    if kind == Storage.Kind.LOCAL:
        if not Path(config.get("path", "")).is_absolute():
            raise InvalidInput("A directory is given by its absolute path.", field="path")
    elif "bucket" not in config:
        raise InvalidInput("A bucket has a name.", field="bucket")
    url = urlsplit(config.get("endpoint_url", "https://s3"))
    if url.scheme not in ("http", "https") or not url.hostname or url.username or url.password:
        raise InvalidInput("An endpoint is like https://s3.example.com, without a key in it.", field="endpoint_url")
    if config.get("addressing_style", "auto") not in ADDRESSING:
        raise InvalidInput(f"One of {', '.join(ADDRESSING)}.", field="addressing_style")
    return config


def _only_default(row: Storage) -> None:
    if row.is_default:
        Storage.objects.filter(is_default=True).exclude(pk=row.pk).update(is_default=False)


def try_storage(row: Storage) -> Tried:
    """Write, read whole and in part, list, lock where there is one, and take it all away. Raises StorageError."""
    storage = open_storage(row)
    key, data = f"_test/{random.token_hex(8)}", random.token_bytes(TEST_BYTES)
    begun = timezone.now()
    with storage.writer(key) as writer:
        writer.write(data)
        writer.commit()
    written = timezone.now()
    with storage.reader(key) as file:
        whole = file.read()
    with storage.reader(key, 1_000, 10) as file:
        part = file.read()
    read = timezone.now()
    if whole != data or part != data[1_000:1_010] or key not in [found.key for found in storage.list("_test")]:
        raise StorageError("What was written is not what was read back.")
    holds = _try_lock(storage, key) if row.lock_mode != Storage.Lock.NONE else None
    try:
        storage.delete(key)
        storage.size(key)
    except (NotStored, Locked):  # what is locked still goes with the next sweep
        return Tried((written - begun).total_seconds(), (read - written).total_seconds(), holds)
    raise StorageError("What was deleted is still there.")


def _try_lock(storage: Any, key: str) -> bool:
    storage.lock(key, timezone.now() + timedelta(seconds=LOCK_SECONDS))
    try:
        storage.delete(key)
    except Locked:
        return True
    raise StorageError("What was locked could be deleted.", hint="The access key may bypass the lock: take that away.")


def check_storage(*, storage: Storage, actor: Actor, source: Source) -> Tried:
    """Try a storage now and write down how that went. Raises StorageError."""
    error: ControlPlaneError | None = None
    try:
        tried = try_storage(storage)
    except ControlPlaneError as failure:
        error = failure
    with transaction.atomic():
        now, text = timezone.now(), str(error or "")[:500]
        Storage.objects.filter(pk=storage.pk).update(checked_at=now, last_error=text)
        audit.record(
            "backup_storage.check", actor=actor, source=source, target=storage,
            outcome="failure" if error else "success", after={"error": text} if error else None,
        )  # fmt: skip
    if error:
        raise error
    return tried


def watch_all() -> int:
    """Look whether each storage in use answers, and note it; a change is audited. Returns how many do."""
    well = 0
    for row in Storage.objects.filter(state=Storage.State.ACTIVE):
        try:
            _answers(row)
            text = ""
        except ControlPlaneError as error:
            text = str(error)[:500]
        well += not text
        with transaction.atomic():
            Storage.objects.filter(pk=row.pk).update(checked_at=timezone.now(), last_error=text)
            if bool(text) != bool(row.last_error):
                audit.record(
                    "backup_storage.check", actor=SYSTEM, source=BEAT, target=row,
                    outcome="failure" if text else "success", after={"error": text} if text else None,
                )  # fmt: skip
    return well


def _answers(row: Storage) -> None:
    """A few bytes written, found and deleted; where a bucket may lock what is written, it is only asked what it has.
    Raises StorageError."""
    if row.kind == Storage.Kind.LOCAL and not Path(row.config["path"]).is_dir():
        raise StorageError("The directory is not there.", hint="Is it mounted?")
    storage, key = open_storage(row), f"_test/{random.token_hex(8)}"
    if row.lock_mode != Storage.Lock.NONE:
        next(iter(storage.list("_test")), None)
        return
    with storage.writer(key) as writer:
        writer.write(key.encode())
        writer.commit()
    try:
        if storage.size(key) != len(key):
            raise StorageError("What was written is not what was read back.")
    finally:
        storage.delete(key)


def ensure_default_storage(*, directory: Path, actor: Actor, source: Source) -> Storage:
    """The default storage, or a directory as one where there is none yet."""
    found = Storage.objects.filter(is_default=True).first()
    if found is not None:
        return found
    return create_storage(name="local", kind="local", config={"path": str(directory)}, actor=actor, source=source)
