"""The commands around backups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backups.models import Backup, PolicyOverride, Storage
from backups.services import policies, storages
from tests.backups.support import BY, age, back_up, events, new_disk, whole
from tests.commands.support import call, refusal, text
from tests.support.fixtures import fresh_slug


def test_a_backup_is_taken_shown_kept_and_verified(tenant: Any, disk: Storage, tmp_path: Path) -> None:
    mine = tenant(rows=4)
    made = call("backup_tenant", mine.slug, "--note", "before", "--keep-days", "9", "--here")
    assert (made["operation"]["state"], made["backup"]["state"], made["backup"]["note"]) == (
        "succeeded", "succeeded", "before",
    )  # fmt: skip
    backup = made["backup"]["id"]
    assert whole(disk) == {f"{mine.pk}/{backup}"}
    assert mine.slug in text("backup_tenant", mine.slug, "--here", "--pin")
    listed = call("list_backups", "--tenant", mine.slug)
    assert [row["note"] for row in listed["backups"]] == ["", "before"]
    assert listed["count"] == 2
    shown = call("show_backup", backup)
    assert any("its own retention" in reason for reason in shown["kept_because"])
    changed = call("change_backup", backup, "--pin", "--keep-days", "0")
    assert (changed["pinned"], changed["keep_until"]) == (True, None)
    assert "pinned" in text("show_backup", backup)
    assert "pinned" not in text("change_backup", backup, "--unpin")
    done = call("verify_backups", backup, "--here")
    assert done["backups"][0]["copies"][0]["state"] == "stored"
    (file,) = (tmp_path / "backups" / str(mine.pk) / backup).glob("data-*")
    file.write_bytes(file.read_bytes()[:-1])
    code, error = refusal("verify_backups", "--tenant", mine.slug, "--here")
    assert (code, error.code) == (2, "backup_damaged")
    assert file.name in str(error)
    assert refusal("show_backup", mine.slug)[0] == 4
    assert refusal("verify_backups")[1].code == "usage"


def test_who_is_overdue_is_listed(tenant: Any) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from backups.models import BackupStatus

    mine = tenant()
    long_ago = timezone.now() - timedelta(days=900)
    BackupStatus.objects.create(tenant=mine, planned_at=timezone.now(), overdue_at=long_ago, since=long_ago)
    late = call("list_backups", "--overdue", "--limit", "1000")
    assert mine.slug in [row["tenant"]["slug"] for row in late["overdue"]]
    assert mine.slug in text("list_backups", "--overdue")


def test_storages_are_added_after_a_try_and_tried_again(tmp_path: Path) -> None:
    name = fresh_slug("disk")
    made = call("add_backup_storage", name, "--path", str(tmp_path / "new"), "--bandwidth", "2048")
    assert (made["place"], made["bandwidth"]) == (str(tmp_path / "new"), 2048 * 1024)
    (tmp_path / "file").write_text("")
    code, error = refusal("add_backup_storage", fresh_slug("disk"), "--path", str(tmp_path / "file"))
    assert error.code == "storage_error"
    assert code != 0
    assert refusal("add_backup_storage", name, "--path", str(tmp_path / "new"))[1].code == "name_taken"
    assert refusal("add_backup_storage", fresh_slug("disk"), "--path", "relative")[1].code == "invalid"
    assert name in text("list_backup_storages", name, "--test")
    Storage.objects.filter(name=name).update(config={"path": str(tmp_path / "file")})
    assert refusal("list_backup_storages", name, "--test")[1].code == "storage_error"
    assert Storage.objects.get(name=name).last_error != ""
    assert refusal("list_backup_storages", "nobody")[0] == 4


def test_a_storage_is_changed_but_not_moved(tmp_path: Path) -> None:
    disk = new_disk(tmp_path / "new")
    changed = call("change_backup_storage", disk.name, "--disable", "--bandwidth", "64", "--concurrency", "2")
    assert (changed["state"], changed["bandwidth"], changed["concurrency"]) == ("disabled", 65_536, 2)
    assert "active" in text("change_backup_storage", disk.name, "--enable")
    assert refusal("change_backup_storage", disk.name)[1].code == "usage"
    assert refusal("change_backup_storage", disk.name, "--lock", "governance", "--lock-days", "3")[1].code == "invalid"
    event = events("backup_storage.update", disk).first()
    assert (event.before["state"], event.after["state"]) == ("active", "disabled")
    if not Storage.objects.filter(is_default=True).exists():
        new_disk(tmp_path / "other")
    default = Storage.objects.get(is_default=True)
    assert refusal("change_backup_storage", default.name, "--disable")[1].code == "invalid"


def test_a_lock_needs_a_bucket_and_a_secret_an_id(tmp_path: Path) -> None:
    where = str(tmp_path / "x")
    assert refusal("add_backup_storage", fresh_slug("d"), "--path", where, "--lock", "governance", "--lock-days", "1")
    assert not (tmp_path / "x").exists()
    assert refusal("add_backup_storage", fresh_slug("d"), "--bucket", "b", "--secret-file", "/x")[1].code == "invalid"


def test_a_tenants_policy_differs_and_is_previewed(tenant: Any) -> None:
    mine = tenant(min_age_days=0)
    kept = [back_up(mine) for _ in range(3)]
    for number, backup in enumerate(kept):
        age(backup, days=10 - number)
    shown = call("backup_policy", "--tenant", mine.slug, "--set", "keep_last=1", "--set", "keep_daily=2", "--preview")
    assert [row["keep"] for row in shown["preview"]] == [True, True, False]
    assert [row["id"] for row in shown["preview"]] == [str(backup.pk) for backup in reversed(kept)]
    assert PolicyOverride.objects.get(tenant=mine).values == {"min_age_days": 0}
    call("backup_policy", "--tenant", mine.slug, "--set", "keep_last=1", "--reason", "a test")
    assert policies.effective(mine).policy.keep_last == 1
    assert "own retention" not in text("backup_policy", "--tenant", mine.slug, "--preview")
    back = call("backup_policy", "--tenant", mine.slug, "--reset")
    assert back["override"] == {}


def test_a_plans_policy_is_made_changed_and_dropped() -> None:
    from tenants.models import Plan

    plan = Plan.objects.create(slug=fresh_slug("plan"), name="Another")
    general = call("backup_policy")
    made = call("backup_policy", "--plan", plan.slug, "--set", "schedule=30 1 * * 1-5", "--set", "keep_monthly=6")
    assert (made["schedule"], made["keep_monthly"], made["keep_daily"]) == ("30 1 * * 1-5", 6, general["keep_daily"])
    assert call("backup_policy") == general
    assert refusal("backup_policy", "--plan", plan.slug, "--set", "schedule=61 * * * *")[1].code == "invalid"
    assert refusal("backup_policy", "--plan", plan.slug, "--set", "time_zone=Mars/Olympus")[1].code == "invalid"
    assert call("backup_policy", "--plan", plan.slug, "--reset")["schedule"] == general["schedule"]
    assert refusal("backup_policy", "--plan", "nobody")[0] == 4


@pytest.mark.parametrize("wrong", ["keep_last=0", "jitter_minutes=241", "window_minutes=100000", "alert_after_hours=0"])
def test_values_that_make_no_sense_are_refused(tenant: Any, wrong: str) -> None:
    mine = tenant()
    code, error = refusal("backup_policy", "--tenant", mine.slug, "--set", wrong)
    assert (code, error.field) == (2, wrong.partition("=")[0])  # type: ignore[attr-defined]


def test_the_first_storage_is_the_default_and_one_stays_it(tmp_path: Path) -> None:
    first = Storage.objects.filter(is_default=True).first() or new_disk(tmp_path / "first")
    second = new_disk(tmp_path / "second", is_default=True)
    first.refresh_from_db()
    assert (first.is_default, second.is_default) == (False, True)
    storages.update_storage(storage=first, changes={"is_default": True}, **BY)
    assert Storage.objects.get(is_default=True) == first
    assert Backup.objects.filter(copies__storage=second).count() == 0
