"""Taking backups: by hand and by schedule, in each other's way, cancelled, failing."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.cache import cache
from django.db import connection as registry
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backups import capturing
from backups.engine.manifest import read_manifest
from backups.models import Backup, BackupCopy, BackupStatus, Storage
from backups.services import due, policies, removal, take, verify
from backups.services.common import keyring
from backups.storage.opening import open_storage
from provisioning import services
from tenants import facts, operations
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import Operation
from tests.backups.support import (
    BY,
    Home,
    add_customers,
    age,
    back_up,
    events,
    keys,
    make_due,
    new_disk,
    prefixes,
    whole,
)
from tests.provisioning.support import provision


def test_a_backup_is_there_whole_and_described(tenant: Any, disk: Any) -> None:
    mine = tenant(rows=7)
    backup = back_up(mine, note="before the migration", keep_days=3)
    copy = backup.copies.get()
    manifest = read_manifest(open_storage(disk), copy.prefix, keyring())
    assert whole(disk) == {copy.prefix} == {f"{mine.pk}/{backup.pk}"}
    assert (backup.state, copy.state, copy.primary) == ("succeeded", "stored", True)
    assert {table.name: table.rows for table in manifest.tables}["customers"] == 8
    assert (backup.rows, backup.tables) == (manifest.rows, len(manifest.tables))
    assert (backup.lsn, backup.fingerprint) == (manifest.lsn, manifest.fingerprint)
    assert backup.stored_bytes == manifest.stored_bytes > 0
    assert backup.verified_at is not None
    assert backup.snapshot_at <= backup.verified_at
    assert abs(backup.keep_until - timezone.now() - timedelta(days=3)) < timedelta(minutes=5)
    assert [e.after["note"] for e in events("backup.request", backup)] == ["before the migration"]
    taken = events("backup.take", backup).get()
    assert (taken.tenant_id, taken.after["rows"]) == (mine.pk, backup.rows)


def test_one_at_a_time_and_never_beside_a_purge(tenant: Any) -> None:
    mine = tenant()
    asked = take.backup_tenant(tenant_id=mine.pk, **BY)
    for other in (
        lambda: take.backup_tenant(tenant_id=mine.pk, **BY),
        lambda: services.purge_tenant(tenant_id=mine.pk, confirm_slug=mine.slug, reason="x", force=True, **BY),
    ):
        with pytest.raises(Conflict) as refused:
            other()
        assert (refused.value.code, refused.value.extra["operation"]) == (
            "operation_in_progress",
            str(asked.operation.pk),
        )
    assert Backup.objects.filter(origin_id=mine.pk).count() == 1
    operations.cancel(asked.operation, **BY)
    asked.backup.refresh_from_db()
    assert (asked.backup.state, asked.backup.error) == ("failed", "The operation was cancelled.")


def test_a_purged_tenants_backups_outlive_it(tenant: Any, disk: Any) -> None:
    mine = tenant()
    backup = back_up(mine)
    begun = services.purge_tenant(tenant_id=mine.pk, confirm_slug=mine.slug, reason="x", force=True, **BY)
    operations.work(begun.operation.pk)
    backup.refresh_from_db()
    assert (backup.state, backup.slug, backup.schema_name) == ("succeeded", mine.slug, mine.schema_name)
    assert whole(disk) == {f"{mine.pk}/{backup.pk}"}
    with pytest.raises(Conflict):
        take.backup_tenant(tenant_id=mine.pk, **BY)


def test_a_backup_before_the_scheduler_knows_the_tenant_counts(tenant: Any) -> None:
    mine = tenant()
    assert not BackupStatus.objects.filter(tenant=mine).exists()
    backup = back_up(mine)
    status = BackupStatus.objects.get(tenant=mine)
    assert (status.last_backup, status.covered_until, status.failures) == (backup, backup.snapshot_at, 0)
    assert mine.pk in {fact.tenant for fact in facts.collect("tenant.backup_age_seconds")}
    due.plan_ahead()
    status.refresh_from_db()
    assert status.next_at is not None
    assert status.covered_until == backup.snapshot_at


def test_without_a_storage_that_takes_it_nothing_begins(tenant: Any, disk: Any) -> None:
    mine = tenant()
    Storage.objects.filter(pk=disk.pk).update(state="disabled", is_default=False)
    with pytest.raises(Conflict) as refused:
        take.backup_tenant(tenant_id=mine.pk, **BY)
    assert refused.value.code == "no_storage"
    with pytest.raises(InvalidInput):
        take.backup_tenant(tenant_id=mine.pk, keep_days=0, **BY)
    assert not Backup.objects.filter(origin_id=mine.pk).exists()


def test_on_a_cluster_without_a_login_that_reads_all_it_is_said_what_is_missing(template: Any, disk: Any) -> None:
    """Row-level security is forced on all tables: as the control plane's own login a backup would lack rows."""
    mine = provision(template).tenant
    assert not mine.cluster.logins.filter(purpose="backup", ready=True).exists()
    with pytest.raises(Conflict) as refused:
        take.backup_tenant(tenant_id=mine.pk, **BY)
    assert refused.value.code == "no_backup_login"
    assert "prepare_cluster" in refused.value.hint
    assert not Backup.objects.filter(origin_id=mine.pk).exists()


def test_a_night_without_a_storage_says_so_and_waits(tenant: Any, disk: Any) -> None:
    mine = tenant()
    Storage.objects.filter(pk=disk.pk).update(state="disabled", is_default=False)
    make_due(mine)
    assert due.run_lane(mine.cluster_id).failed == 1
    status = BackupStatus.objects.get(tenant=mine)
    assert "is disabled" in status.last_error
    assert status.next_at > timezone.now() + timedelta(minutes=50)
    assert not Backup.objects.filter(origin_id=mine.pk).exists()


def test_a_tenant_that_was_migrated_is_backed_up_as_it_is(tenant: Any, disk: Any) -> None:
    mine = tenant(rows=2)
    opened = services.open_migrator(tenant_id=mine.pk, reason="a test", **BY)
    with psycopg.connect(opened.connection.dsn, autocommit=True) as session:
        session.execute("CREATE TABLE later (id int PRIMARY KEY, note text)")
        session.execute("INSERT INTO later VALUES (1, 'x'), (2, 'y')")
    services.close_migrator(tenant_id=mine.pk, **BY)

    def rows() -> int:
        manifest = read_manifest(open_storage(disk), back_up(mine).copies.get().prefix, keyring())
        return {table.name: table.rows for table in manifest.tables}["later"]

    assert rows() == 2
    # What describes it is kept in Redis, and a restore runs it: whoever writes there must not have it run theirs.
    key = capturing._key(mine.cluster_id, capturing.fingerprint(capturing.reader(mine.cluster), mine))
    kept = cache.get(key)
    assert kept
    for forged in (b'{"before": "DROP TABLE later"}', kept[:-4] + "AAA=", 7):
        cache.set(key, forged)
        assert rows() == 2
        assert cache.get(key) not in (None, forged)


def test_what_fails_leaves_nothing_and_is_due_again(tenant: Any, disk: Any, tmp_path: Path) -> None:
    mine = tenant()
    (tmp_path / "backups").mkdir(exist_ok=True)
    place = tmp_path / "full"
    place.write_text("a file where a directory is needed")
    Storage.objects.filter(pk=disk.pk).update(config={"path": str(place)})
    make_due(mine)
    done = due.run_lane(mine.cluster_id)
    assert (done.taken, done.failed) == (0, 1)
    backup = Backup.objects.get(origin_id=mine.pk)
    status = BackupStatus.objects.get(tenant=mine)
    assert (backup.state, status.failures) == ("failed", 1)
    assert backup.error in status.last_error
    assert timezone.now() < status.next_at < timezone.now() + timedelta(minutes=11)
    assert backup.operation.state == "failed"
    assert events("backup.fail", backup).get().outcome == "failure"
    assert not BackupCopy.objects.filter(backup=backup, state__in=["writing", "stored"]).exists()


def test_a_failure_before_the_scheduler_knows_the_tenant_is_counted(tenant: Any, disk: Any, tmp_path: Path) -> None:
    mine = tenant()
    place = tmp_path / "full"
    place.write_text("a file where a directory is needed")
    Storage.objects.filter(pk=disk.pk).update(config={"path": str(place)})
    assert not BackupStatus.objects.filter(tenant=mine).exists()
    asked = take.backup_tenant(tenant_id=mine.pk, **BY)
    operations.work(asked.operation.pk)
    status = BackupStatus.objects.get(tenant=mine)
    assert (status.failures, status.next_at) == (1, None)
    assert status.last_error
    assert mine.pk in {fact.tenant for fact in facts.collect("tenant.backup_failed") if fact.value}
    due.plan_ahead()  # and then it has its time as every other has
    status.refresh_from_db()
    assert (status.failures, status.next_at is not None) == (1, True)


def test_a_running_backup_is_cancelled_and_leaves_nothing(tenant: Any, tmp_path: Path) -> None:
    mine = tenant()
    slow = new_disk(tmp_path / "slow", bandwidth=500_000)
    add_customers(mine.connection, 2_000, width=1_024)  # a megabyte that does not compress to less than half of it
    asked = take.backup_tenant(tenant_id=mine.pk, storage=slow, **BY)

    def carry_out() -> None:
        operations.work(asked.operation.pk)
        connections.close_all()

    worker = threading.Thread(target=carry_out)
    worker.start()
    while not prefixes(slow) and not list((tmp_path / "slow").rglob("*.part")):
        assert worker.is_alive()
        time.sleep(0.02)
    operations.cancel(Operation.objects.get(pk=asked.operation.pk), **BY)
    worker.join(30)
    asked.operation.refresh_from_db()
    asked.backup.refresh_from_db()
    assert (asked.operation.state, asked.backup.state) == ("cancelled", "failed")
    assert keys(slow) == []
    assert list((tmp_path / "slow").rglob("*.part")) == []
    assert back_up(mine).state == "succeeded"


def test_a_lane_takes_those_that_are_due_and_skips_what_has_not_changed(tenant: Any, disk: Any) -> None:
    mine = [tenant(rows=2) for _ in range(3)]
    make_due(*mine)
    assert due.run_lane(mine[0].cluster_id).taken == 3
    first = list(Backup.objects.filter(origin_id__in=[each.pk for each in mine]))
    assert {backup.origin for backup in first} == {"scheduled"}
    assert len(whole(disk)) == 3
    time.sleep(1.2)  # the server counts changes with a delay: what came before the backup is counted by now
    for each in mine:
        back_up(each)
    add_customers(mine[0].connection, 1)
    time.sleep(1.2)
    make_due(*mine)
    done = due.run_lane(mine[0].cluster_id)
    assert (done.taken, done.unchanged) == (1, 2)
    status = BackupStatus.objects.get(tenant=mine[1])
    assert status.covered_until == status.last_backup.unchanged_until
    assert status.covered_until > status.last_backup.snapshot_at
    assert events("backup.unchanged", status.last_backup).exists()
    assert BackupStatus.objects.get(tenant=mine[0]).last_backup.unchanged_until is None
    assert status.next_at > timezone.now() + timedelta(minutes=1)


def test_a_night_of_small_tenants_asks_the_registry_little(tenant: Any) -> None:
    mine = [tenant(rows=1, skip_unchanged=False) for _ in range(6)]
    make_due(mine[0])
    assert due.run_lane(mine[0].cluster_id).taken == 1  # what is read once a process
    make_due(*mine)
    with CaptureQueriesContext(registry) as asked:
        assert due.run_lane(mine[0].cluster_id).taken == 6
    statements = [each["sql"] for each in asked.captured_queries]
    a_chunk = 18
    assert len(statements) <= a_chunk + 6 * 13, "\n".join(s[:150] for s in statements)


def test_a_missed_night_is_caught_up_or_not_as_the_policy_says(tenant: Any) -> None:
    patient, strict = tenant(catch_up=True), tenant(catch_up=False)
    make_due(patient, strict)
    past = timezone.now() - timedelta(minutes=1)
    BackupStatus.objects.filter(tenant__in=[patient.pk, strict.pk]).update(window_ends_at=past)
    done = due.run_lane(patient.cluster_id)
    assert (done.taken, done.missed) == (1, 1)
    assert Backup.objects.filter(origin_id=patient.pk).exists()
    assert not Backup.objects.filter(origin_id=strict.pk).exists()
    assert BackupStatus.objects.get(tenant=strict).next_at > timezone.now()


def test_after_an_outage_lanes_bound_what_runs_at_the_same_time(tenant: Any, settings: Any) -> None:
    settings.BACKUP_CLUSTER_CONCURRENCY = 1
    mine = [tenant() for _ in range(2)]
    make_due(*mine)
    with due.lane(mine[0].cluster_id) as number:
        assert number == 0
        found: list[Any] = []

        def other() -> None:
            found.append(due.run_lane(mine[0].cluster_id))
            connections.close_all()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found[0].any is False
    assert due.run_lane(mine[0].cluster_id).taken == 2


def test_a_new_tenant_gets_its_time_and_a_changed_policy_another(tenant: Any) -> None:
    mine = tenant()
    due.plan_ahead()
    status = BackupStatus.objects.get(tenant=mine)
    slot = due.next_slot(policies.effective(mine).policy, mine.pk, status.planned_at)
    assert (status.next_at, status.window_ends_at) == (slot.due, slot.until)
    assert status.overdue_at == status.since + timedelta(hours=36)
    policies.set_override(tenant=mine, values={"enabled": False}, **BY)
    due.plan_ahead()
    status.refresh_from_db()
    assert (status.next_at, status.overdue_at) == (None, None)


def test_who_has_no_good_backup_for_too_long_is_overdue(tenant: Any, disk: Any) -> None:
    mine = tenant(alert_after_hours=1)
    due.plan_ahead()
    BackupStatus.objects.filter(tenant=mine).update(since=timezone.now() - timedelta(hours=2), planned_at=None)
    due.plan_ahead()
    assert mine.pk in [row.tenant_id for row in due.overdue()]
    back_up(mine)
    assert mine.pk not in [row.tenant_id for row in due.overdue()]


def test_copies_are_made_and_damage_is_found_in_each(tenant: Any, disk: Any, tmp_path: Path) -> None:
    second = new_disk(tmp_path / "second")
    mine = tenant()
    policy = policies.effective(mine).source
    before = list(policy.copies.all())
    policies.set_policy(plan=policy.plan, changes={}, copies=[second], **BY)
    try:
        backup = back_up(mine)
    finally:
        policies.set_policy(plan=policy.plan, changes={}, copies=before, **BY)
    for operation in Operation.objects.filter(kind="backup.copy", params__backup=str(backup.pk)):
        operations.work(operation.pk)
    assert whole(second) == whole(disk) == {f"{mine.pk}/{backup.pk}"}
    assert sorted(backup.copies.values_list("state", flat=True)) == ["stored", "stored"]
    _flip(tmp_path / "second")
    assert _verify(backup) == {disk.name: "stored", second.name: "damaged"}
    backup.refresh_from_db()
    assert backup.restorable
    _flip(tmp_path / "backups")
    assert _verify(backup) == {disk.name: "damaged", second.name: "damaged"}
    backup.refresh_from_db()
    assert not backup.restorable
    assert events("backup.verify", backup).last().outcome == "failure"


def test_what_was_not_read_for_long_is_read_again(tenant: Any) -> None:
    mine = tenant()
    old, new = back_up(mine), back_up(mine)
    Backup.objects.filter(pk=old.pk).update(verified_at=timezone.now() - timedelta(days=4_000))
    assert verify.verify_due() >= 1
    begun = Operation.objects.filter(kind="backup.verify", tenant=mine)
    assert [each.params["backup"] for each in begun] == [str(old.pk)]
    operations.work(begun.get().pk)
    old.refresh_from_db()
    assert old.verified_at > new.verified_at


def _flip(directory: Path) -> None:
    (file,) = directory.rglob("data-0001.cpb")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _verify(backup: Backup) -> dict[str, str]:
    operation = verify.verify_backup(backup=backup, **BY)
    operations.work(operation.pk)
    operation.refresh_from_db()
    assert operation.state == "succeeded", operation.error
    return {copy.storage.name: copy.state for copy in backup.copies.select_related("storage")}


def test_what_no_policy_keeps_goes_and_what_one_keeps_stays(tenant: Any, disk: Any) -> None:
    mine = tenant(keep_last=1, keep_daily=0, min_age_days=0)
    old, pinned, new = back_up(mine), back_up(mine, pinned=True), back_up(mine)
    age(old, days=3)
    age(pinned, days=2)
    removal.expire_due()
    for operation in Operation.objects.filter(kind="backup.expire", tenant=mine):
        operations.work(operation.pk)
    states = {b.pk: b.state for b in Backup.objects.filter(origin_id=mine.pk)}
    assert states == {old.pk: "expired", pinned.pk: "succeeded", new.pk: "succeeded"}
    assert whole(disk) == {f"{mine.pk}/{pinned.pk}", f"{mine.pk}/{new.pk}"}
    assert prefixes(disk) == whole(disk)
    assert events("backup.expire", old).get().actor_kind == "system"


def test_a_mistake_in_retention_deletes_nothing(tenant: Any, disk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from backups import retention

    mine = tenant(keep_last=1, keep_daily=0, min_age_days=0)
    backups = [back_up(mine), back_up(mine)]
    for number, backup in enumerate(backups):
        age(backup, days=9 - number)
    monkeypatch.setattr(retention, "keep", lambda *_: {})
    removal.expire_due()
    for operation in Operation.objects.filter(kind="backup.expire", tenant=mine):
        operations.work(operation.pk)
        operation.refresh_from_db()
        assert operation.error["code"] == "retention_stopped"
    assert set(Backup.objects.filter(origin_id=mine.pk).values_list("state", flat=True)) == {"succeeded"}
    assert len(whole(disk)) == 2


def test_what_the_dead_left_is_reaped(tenant: Any, disk: Any, home: Home) -> None:
    mine = tenant()
    backup = back_up(mine)
    orphan = BackupCopy.objects.create(backup=backup, storage=disk, prefix=f"{mine.pk}/{mine.pk}")
    with open_storage(disk).writer(f"{orphan.prefix}/data-0001.cpb") as writer:
        writer.write(b"half")
        writer.commit()
    removal.reap()
    orphan.refresh_from_db()
    assert orphan.state == "deleted"
    assert prefixes(disk) == {f"{mine.pk}/{backup.pk}"}
    backup.refresh_from_db()
    assert backup.state == "succeeded"
