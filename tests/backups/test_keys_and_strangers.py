"""Backups' keys are moved to the newest one; what nobody knows in a storage is shown and stays."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backups.engine.verify import verify
from backups.models import Backup
from backups.services import removal, rewrapping
from backups.services.common import keyring
from backups.storage.opening import open_storage
from tests.admin.conftest import browse as browse
from tests.admin.conftest import groups as groups
from tests.admin.conftest import person as person
from tests.admin.support import text_of, url
from tests.backups.support import BY, back_up, events, keys, new_disk
from tests.commands.support import call, text


def whole(backup: Backup, disk: Any) -> None:
    copy = backup.copies.get(storage=disk)
    verify(storage=open_storage(disk), prefix=copy.prefix, keyring=keyring())


def test_backups_are_moved_to_a_new_key_and_need_the_old_one_no_more(
    tenant: Callable[..., Any], disk: Any, tmp_path: Path, settings: Any
) -> None:
    first, second = (f"k{secrets.token_hex(4)}" for _ in range(2))
    entries = {name: f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}" for name in (first, second)}
    before = settings.BACKUP_ENCRYPTION_KEYS
    settings.BACKUP_ENCRYPTION_KEYS = [entries[first], *before]
    mine = tenant()
    one, other, lost = back_up(mine), back_up(mine), back_up(mine)
    assert {row.key_id for row in (one, other, lost)} == {first}
    settings.BACKUP_ENCRYPTION_KEYS = [entries[second], entries[first], *before]
    shown = call("rewrap_backup_keys", "--dry-run")
    assert (shown["newest"], shown["under"][first]) == (second, 3)
    assert first not in shown["removable"]
    manifest = tmp_path / "backups" / lost.copies.get().prefix / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content[:-10])
    found = rewrapping.rewrap_keys(tenant=mine, **BY)
    assert (found.done, list(found.failed)) == (2, [str(lost.pk)])
    assert first not in found.removable, "one still needs it"
    manifest.write_bytes(content)
    told = text("rewrap_backup_keys", "--tenant", mine.slug)
    assert f"1 moved to the key {second}" in told
    assert first in told.partition("No longer needed: ")[2]
    settings.BACKUP_ENCRYPTION_KEYS = [entries[second], *before]
    for backup in (one, other, lost):
        backup.refresh_from_db()
        assert backup.key_id == second
        whole(backup, disk)
        (event,) = events("backup.rewrap", backup)
        assert (event.before["key_id"], event.after["key_id"]) == (first, second)
    assert rewrapping.rewrap_keys(tenant=mine, **BY).done == 0


def test_what_nobody_knows_is_shown_and_never_deleted(home: Any, tmp_path: Path, browse: Callable[..., Any]) -> None:
    disk = new_disk(tmp_path / "shared")
    mine = home.tenant(1, disk)
    backup = back_up(mine)
    stranger = "5e8f4a52-0000-4000-8000-000000000001/5e8f4a52-0000-4000-8000-000000000002"
    with open_storage(disk).writer(f"{stranger}/manifest.json") as writer:
        writer.write(b"x" * 2048)
        writer.commit()
    removal.sweep_storages()
    disk.refresh_from_db()
    assert (disk.unknown_count, disk.unknown) == (1, [{"prefix": stranger, "bytes": 2048}])
    listed = call("list_backup_storages", disk.name)["storages"][0]
    assert listed["unknown_count"] == 1
    assert stranger in text_of(browse("administrator").get(url("backups_storage_change", disk.pk)))
    removal.reap()
    removal.sweep_storages()
    assert f"{stranger}/manifest.json" in keys(disk)
    assert any(key.startswith(backup.copies.get().prefix) for key in keys(disk))
