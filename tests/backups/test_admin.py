"""Backups, policies and storages in the admin."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from backups.models import Backup, BackupPolicy, BackupStatus, Storage
from tenants import operations
from tenants.models import Operation, Plan
from tests.admin.conftest import browse, groups, person  # noqa: F401  (fixtures)
from tests.admin.support import form_errors, text_of, url
from tests.backups.support import age, back_up
from tests.support.fixtures import fresh_slug


def test_a_backup_is_taken_seen_verified_and_kept(browse: Any, tenant: Any) -> None:  # noqa: F811
    mine, client = tenant(rows=3), browse("operator")
    page = text_of(client.get(url("tenants_tenant_change", mine.pk)))
    assert "Back up now" in page
    taken = client.post(url("backups_backup_take", mine.pk), {"note": "before", "keep_days": "4"})
    operation = Operation.objects.get(kind="backup.take", tenant=mine)
    assert taken["Location"] == url("tenants_operation_change", operation.pk)
    operations.work(operation.pk)
    backup = Backup.objects.get(origin_id=mine.pk)
    assert (backup.requested_by, backup.note) == (client.person.username, "before")
    page = text_of(client.get(url("backups_backup_change", backup.pk)))
    for shown in ("before", "Kept because", "its own retention", "succeeded", mine.slug, str(backup.rows)):
        assert shown in page, shown
    assert mine.slug in text_of(client.get(url("backups_backup_changelist") + f"?q={mine.slug}"))
    verified = client.post(url("backups_backup_verify", backup.pk))
    assert verified["Location"] == url(
        "tenants_operation_change", Operation.objects.get(kind="backup.verify", tenant=mine).pk
    )
    client.post(url("backups_backup_keep", backup.pk), {"pinned": "on", "keep_days": "0", "note": "before"})
    backup.refresh_from_db()
    assert (backup.pinned, backup.keep_until) == (True, None)


def test_viewers_look_and_do_nothing(browse: Any, tenant: Any) -> None:  # noqa: F811
    mine = tenant()
    backup, client = back_up(mine), browse("viewer")
    assert client.get(url("backups_backup_change", backup.pk)).status_code == 200
    assert client.post(url("backups_backup_take", mine.pk), {}).status_code == 403
    assert client.post(url("backups_backup_verify", backup.pk)).status_code == 403
    assert client.post(url("backups_backup_keep", backup.pk), {"pinned": "on"}).status_code == 403
    assert client.get(url("backups_backuppolicy_edit", BackupPolicy.objects.get(plan=None).pk)).status_code == 403


def test_who_is_overdue_is_shown(browse: Any, tenant: Any) -> None:  # noqa: F811
    mine, long_ago = tenant(), timezone.now() - timedelta(days=999)
    BackupStatus.objects.create(tenant=mine, planned_at=timezone.now(), overdue_at=long_ago, since=long_ago)
    assert mine.slug in text_of(browse("viewer").get(url("backups_backup_overdue")))


def answers(row: BackupPolicy, **changes: Any) -> dict[str, Any]:
    values = {name: value for name, value in row.values().items() if value is not False}
    return {name: "on" if value is True else str(value) for name, value in values.items()} | changes


def test_a_policy_is_previewed_with_real_backups_and_saved(browse: Any, tenant: Any) -> None:  # noqa: F811
    mine, client = tenant(), browse("administrator")
    plan = Plan.objects.create(slug=fresh_slug("plan"), name="Another")
    kept = [back_up(mine) for _ in range(3)]
    for number, backup in enumerate(kept):
        age(backup, days=10 - number)
    general = BackupPolicy.objects.get(plan=None)
    edit = url("backups_backuppolicy_of_plan", plan.pk)
    sent = answers(general, keep_last="1", keep_daily="2", min_age_days="0")
    page = text_of(client.post(edit, {**sent, "preview": mine.slug}))
    assert "3 backups this policy keeps 2" in page
    assert not BackupPolicy.objects.filter(plan=plan).exists()
    saved = client.post(edit, sent)
    row = BackupPolicy.objects.get(plan=plan)
    assert saved["Location"] == url("backups_backuppolicy_change", row.pk)
    assert (row.keep_last, row.keep_daily, general.keep_daily) == (1, 2, general.keep_daily)
    assert plan.name in text_of(client.get(url("backups_backuppolicy_change", row.pk)))
    edit = url("backups_backuppolicy_edit", row.pk)
    assert set(form_errors(client.post(edit, answers(row, schedule="never")))) == {"schedule"}
    assert set(form_errors(client.post(edit, answers(row, time_zone="Mars/Olympus")))) == {"time_zone"}
    assert set(form_errors(client.post(edit, answers(row, jitter_minutes="1440", window_minutes="5")))) == {
        "jitter_minutes"
    }
    client.post(url("backups_backuppolicy_drop", row.pk))
    assert not BackupPolicy.objects.filter(plan=plan).exists()


def test_a_storage_is_added_after_a_try_changed_and_tried(browse: Any, tmp_path: Path) -> None:  # noqa: F811
    client, name = browse("administrator"), fresh_slug("disk")
    sent = {"name": name, "kind": "local", "path": str(tmp_path / "new"), "lock_mode": "none", "lock_days": "0",
            "bandwidth": "0", "concurrency": "3", "addressing_style": "auto"}  # fmt: skip
    assert set(form_errors(client.post(url("backups_storage_add"), sent | {"path": "relative"}))) == {"path"}
    (tmp_path / "file").write_text("")
    assert form_errors(client.post(url("backups_storage_add"), sent | {"path": str(tmp_path / "file")}))
    assert not Storage.objects.filter(name=name).exists()
    # The first one is the default, and that cannot be disabled.
    client.post(url("backups_storage_add"), sent | {"name": fresh_slug("first"), "path": str(tmp_path / "first")})
    made = client.post(url("backups_storage_add"), sent)
    row = Storage.objects.get(name=name)
    assert made["Location"] == url("backups_storage_change", row.pk)
    assert set(form_errors(client.post(url("backups_storage_add"), sent))) == {"name"}
    change = {"state": "disabled", "lock_mode": "none", "lock_days": "0", "bandwidth": "10000000", "concurrency": "2"}
    client.post(url("backups_storage_edit", row.pk), change)
    row.refresh_from_db()
    assert (row.state, row.bandwidth, row.concurrency) == ("disabled", 10_000_000, 2)
    assert "Written in" in text_of(client.post(url("backups_storage_test", row.pk), follow=True))
    assert str(tmp_path / "new") in text_of(client.get(url("backups_storage_change", row.pk)))
    assert name in text_of(client.get(url("backups_storage_changelist")))
