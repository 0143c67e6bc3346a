"""Restores into a new tenant and in the place of the present schema: rows, access, undo, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from backups.engine.errors import Damaged
from backups.models import Backup, KeptSchema
from backups.services import kept as kept_services
from backups.services import restore
from provisioning import credentials, services
from tenants import operations
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import Operation, Tenant
from tenants.postgres import connect
from tests.backups.support import BY, add_customers, back_up, events
from tests.provisioning.support import can_log_in, leftovers
from tests.support.fixtures import fresh_slug


def work(operation: Operation) -> Operation:
    operations.work(operation.pk)
    operation.refresh_from_db()
    return operation


def done(operation: Operation) -> Operation:
    assert work(operation).state == "succeeded", operation.error
    return operation


def count(connection: Any) -> int:
    with psycopg.connect(connection.dsn, autocommit=True) as session:
        return int(session.execute("SELECT count(*) FROM customers WHERE name LIKE 'c%'").fetchone()[0])  # type: ignore[index]


def restored(tenant: Any, backup: Backup, **values: Any) -> restore.Restoring:
    """The backup in the place of the tenant's schema, here and now."""
    values = {"confirm_slug": tenant.slug, "reason": "a test"} | values
    begun = restore.restore_same(backup=backup, **values, **BY)
    done(begun.operation)
    return begun


def test_a_backup_becomes_a_new_tenant_with_credentials_of_its_own(tenant: Callable[..., Any]) -> None:
    original = tenant(rows=5)
    Tenant.objects.filter(pk=original.pk).update(labels={"team": "blue"})
    original.refresh_from_db()
    backup = back_up(original)
    add_customers(original.connection, 2)
    slug = fresh_slug()
    begun = restore.restore_to_new(backup=backup, slug=slug, reason="to look at it", **BY)
    operation = done(begun.operation)
    copy = Tenant.objects.get(slug=slug)
    assert (copy.state, copy.labels, copy.plan_id) == ("active", {"team": "blue"}, original.plan_id)
    assert copy.template_version == original.template_version
    connection = credentials.collect_credentials(operation_id=operation.pk, **BY)
    assert connection.user.startswith(copy.schema_name)
    assert (count(connection), count(original.connection)) == (5, 7)
    assert operation.result["rows"] >= 5
    assert events("backup.restore_copy", backup).count() == 1
    # It is a tenant like all others.
    add_customers(connection, 1)
    services.suspend_tenant(tenant_id=copy.pk, **BY)
    assert not can_log_in(connection)
    assert back_up(copy).rows == backup.rows + 1


def test_a_new_tenants_slug_must_be_free_and_nothing_is_left_of_a_refusal(tenant: Callable[..., Any]) -> None:
    original = tenant()
    backup = back_up(original)
    with pytest.raises(Conflict) as caught:
        restore.restore_to_new(backup=backup, slug=original.slug, **BY)
    assert caught.value.code == "slug_taken"
    with pytest.raises(InvalidInput):
        restore.restore_to_new(backup=backup, slug=fresh_slug(), plan="no-such-plan", **BY)


def test_a_damaged_backup_becomes_no_tenant_and_is_tried_again_once_it_is_whole(
    tenant: Callable[..., Any], tmp_path: Path, home: Any
) -> None:
    backup = back_up(tenant())
    file = next((tmp_path / "backups").rglob("data-0001.cpb"))
    whole = file.read_bytes()
    file.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    begun = restore.restore_to_new(backup=backup, slug=fresh_slug(), **BY)
    operation = work(begun.operation)
    assert operation.state == "failed"
    assert operation.error["code"] == "backup_damaged"
    assert "data-0001.cpb" in operation.error["message"]
    assert not operation.steps.filter(name="create roles").exists(), "nothing was touched"
    failed = Tenant.objects.get(pk=begun.tenant.pk)
    assert failed.state == "failed"
    assert leftovers(home.cluster, failed.schema_name) == []
    file.write_bytes(whole)
    again = done(operations.retry(operation, **BY))
    failed.refresh_from_db()
    assert failed.state == "active"
    assert can_log_in(credentials.collect_credentials(operation_id=again.pk, **BY))


def test_a_manifest_of_another_backup_is_refused_at_once(tenant: Callable[..., Any], tmp_path: Path) -> None:
    first, second = back_up(tenant()), back_up(tenant())
    places = {b.pk: tmp_path / "backups" / b.copies.get().prefix for b in (first, second)}
    (places[first.pk] / "manifest.json").write_bytes((places[second.pk] / "manifest.json").read_bytes())
    with pytest.raises(Damaged, match=r"manifest\.json: it belongs to another backup"):
        restore.restore_to_new(backup=first, slug=fresh_slug(), **BY)


def test_a_restore_in_place_brings_the_old_rows_and_is_undone_by_one_act(tenant: Callable[..., Any], home: Any) -> None:
    mine = tenant(rows=4)
    backup = back_up(mine)
    add_customers(mine.connection, 3)
    begun = restored(mine, backup)
    assert count(mine.connection) == 4, "the same credentials reach the restored rows"
    kept = KeptSchema.objects.get(pk=begun.kept.pk)
    assert kept.state == "kept"
    assert kept.keep_until > timezone.now() + timedelta(days=6)
    assert leftovers(home.cluster, kept.incoming_schema) == []
    before = Backup.objects.get(origin="before_restore", origin_id=mine.pk)
    assert (before.state, before.rows) == ("succeeded", backup.rows + 3)
    add_customers(mine.connection, 1)

    undo = kept_services.undo_restore(kept=kept, confirm_slug=mine.slug, reason="it was the wrong one", **BY)
    done(undo)
    assert count(mine.connection) == 7
    kept.refresh_from_db()
    assert kept.state == "undone"
    assert kept.schema_name != mine.schema_name
    with connect(home.cluster.dsn()) as link:
        assert link.execute("SELECT to_regnamespace(%s) IS NOT NULL", [kept.schema_name]).fetchone() == (True,)
    done(kept_services.confirm_restore(kept=kept, **BY))
    kept.refresh_from_db()
    assert kept.state == "dropped"
    assert leftovers(home.cluster, kept.schema_name) == []
    assert count(mine.connection) == 7
    assert events("backup.restore", backup).count() == 1


def test_what_was_replaced_is_dropped_when_it_is_confirmed_or_its_time_is_over(
    tenant: Callable[..., Any], home: Any
) -> None:
    mine = tenant()
    backup = back_up(mine)
    begun = restored(mine, backup, backup_before=False)
    assert not Backup.objects.filter(origin="before_restore", origin_id=mine.pk).exists()
    with pytest.raises(Conflict) as caught:
        restore.restore_same(backup=backup, confirm_slug=mine.slug, reason="once more", **BY)
    assert caught.value.code == "kept_schema"
    kept = KeptSchema.objects.get(pk=begun.kept.pk)
    kept_services.drop_due()
    kept.refresh_from_db()
    assert kept.state == "kept", "its time is not over"
    KeptSchema.objects.filter(pk=kept.pk).update(keep_until=timezone.now())
    kept_services.drop_due()
    done(Operation.objects.get(kind="backup.drop_kept", params__kept=kept.pk))
    assert leftovers(home.cluster, kept.schema_name) == []
    with pytest.raises(Conflict):
        kept_services.undo_restore(kept=KeptSchema.objects.get(pk=kept.pk), confirm_slug=mine.slug, reason="x", **BY)
    restored(mine, backup, backup_before=False)


def test_the_confirmation_is_typed_and_the_reason_given(tenant: Callable[..., Any]) -> None:
    mine = tenant()
    backup = back_up(mine)
    for values in ({"confirm_slug": "other", "reason": "x"}, {"confirm_slug": mine.slug, "reason": " "}):
        with pytest.raises(InvalidInput):
            restore.restore_same(backup=backup, **values, **BY)
    assert not KeptSchema.objects.filter(tenant=mine.pk).exists()


def test_a_suspended_tenant_stays_suspended(tenant: Callable[..., Any]) -> None:
    mine = tenant(rows=2)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    services.suspend_tenant(tenant_id=mine.pk, **BY)
    restored(mine, backup, backup_before=False)
    assert not can_log_in(mine.connection)
    assert Tenant.objects.get(pk=mine.pk).state == "suspended"
    services.resume_tenant(tenant_id=mine.pk, **BY)
    assert count(mine.connection) == 2


def test_undoing_that_is_cancelled_lets_nobody_in_who_was_shut_out_since(
    tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could log in at the time of the restore is no measure any more: the tenant was suspended."""
    mine = tenant(rows=2)
    begun = restored(mine, back_up(mine), backup_before=False)
    services.suspend_tenant(tenant_id=mine.pk, **BY)
    kept = KeptSchema.objects.get(pk=begun.kept.pk)
    begin = operations.Run._begin_step
    for chosen in ("note open logins", "close logins and end sessions", "open logins"):

        def cancel_before(self: Any, name: str, chosen: str = chosen) -> None:
            if name == chosen and not self.operation.unwinding:
                operations.cancel(Operation.objects.get(pk=self.operation.pk), **BY)
            begin(self, name)

        undo = kept_services.undo_restore(kept=kept, confirm_slug=mine.slug, reason="a test", **BY)
        with monkeypatch.context() as patch:
            patch.setattr(operations.Run, "_begin_step", cancel_before)
            assert work(undo).state == "cancelled", chosen
        assert not can_log_in(mine.connection), chosen


def test_cancelled_at_any_step_the_tenant_is_as_it_was(
    tenant: Callable[..., Any], home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tenant(rows=2)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    steps = (
        "check the backup", "back up the present state", "create roles", "restore the data", "note open logins",
        "close logins and end sessions", "exchange the schemas", "open logins",
    )  # fmt: skip
    begin = operations.Run._begin_step
    for chosen in steps:

        def cancel_before(self: Any, name: str, chosen: str = chosen) -> None:
            if name == chosen and not self.operation.unwinding:
                operations.cancel(Operation.objects.get(pk=self.operation.pk), **BY)
            begin(self, name)

        begun = restore.restore_same(backup=backup, confirm_slug=mine.slug, reason="test", **BY)
        with monkeypatch.context() as patch:
            patch.setattr(operations.Run, "_begin_step", cancel_before)
            assert work(begun.operation).state == "cancelled", chosen
        assert count(mine.connection) == 3, chosen
        assert not KeptSchema.objects.filter(tenant=mine.pk).exists()
        assert begun.kept is not None
        for schema in (begun.kept.schema_name, begun.kept.incoming_schema):
            assert leftovers(home.cluster, schema) == [], chosen
        assert not Backup.objects.filter(origin_id=mine.pk, state="running").exists()


def test_a_purge_takes_along_what_was_set_aside(tenant: Callable[..., Any], home: Any) -> None:
    mine = tenant()
    begun = restored(mine, back_up(mine), backup_before=False)
    services.delete_tenant(tenant_id=mine.pk, **BY)
    purge = services.purge_tenant(tenant_id=mine.pk, confirm_slug=mine.slug, reason="test", force=True, **BY)
    assert purge.operation is not None
    done(purge.operation)
    kept = KeptSchema.objects.get(pk=begun.kept.pk)
    assert kept.state == "dropped"
    for schema in (mine.schema_name, kept.schema_name, kept.incoming_schema):
        assert leftovers(home.cluster, schema) == []


def test_a_restore_that_failed_is_tried_again_with_the_same_choices(
    tenant: Callable[..., Any], tmp_path: Path, home: Any, api_client: Callable[..., Any]
) -> None:
    mine = tenant(rows=2)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    file = next((tmp_path / "backups").rglob("data-0001.cpb"))
    whole = file.read_bytes()
    file.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    begun = restore.restore_same(
        backup=backup, confirm_slug=mine.slug, reason="wrong import", keep_days=3, backup_before=False, **BY
    )
    failed = work(begun.operation)
    assert (failed.state, failed.error["code"]) == ("failed", "backup_damaged")
    assert count(mine.connection) == 3
    file.write_bytes(whole)
    retry = f"/api/v1/operations/{failed.pk}/retry"
    refused = api_client("operations:write").post(retry, {})
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    asked = api_client("operations:write", "backups:restore").post(retry, {})
    assert asked.status_code == 202, asked.json()
    again = done(Operation.objects.get(pk=asked.json()["id"]))
    assert (again.retry_of_id, again.reason, again.params["keep_days"]) == (failed.pk, "wrong import", 3)
    assert count(mine.connection) == 2
    assert leftovers(home.cluster, begun.kept.incoming_schema) == []  # type: ignore[union-attr]
    with pytest.raises(Conflict) as caught:  # what was replaced is still aside
        operations.retry(failed, **BY)
    assert caught.value.code == "kept_schema"
