"""Restores through their doors: the preview, REST, the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backups.models import KeptSchema
from backups.services import preview
from tenants import operations
from tenants.models import Operation, Tenant
from tests.backups.support import add_customers, back_up, events
from tests.backups.test_restore import count
from tests.commands.support import manage
from tests.support.fixtures import fresh_slug


def test_a_preview_tells_what_is_lost_and_touches_nothing(tenant: Callable[..., Any]) -> None:
    mine = tenant(rows=3)
    backup = back_up(mine)
    untouched = preview.preview_same(backup=backup, tenant=mine)
    assert not untouched.changed
    assert untouched.rows_now == untouched.rows_then == backup.rows
    add_customers(mine.connection, 2)
    with psycopg.connect(mine.connection.dsn, autocommit=True) as session:
        session.execute("SELECT pg_stat_force_next_flush()")
    found = preview.preview_same(backup=backup, tenant=mine)
    table = next(table for table in found.tables if table.name == "customers")
    assert (table.rows_now or 0) - (table.rows_then or 0) == 2
    assert table.exact
    assert any(loss.startswith("customers: 2 rows more") for loss in found.losses)
    assert found.expected.seconds > 0
    assert not KeptSchema.objects.filter(tenant=mine.pk).exists()


def test_a_preview_of_tables_shows_those_alone(tenant: Callable[..., Any], api_client: Callable[..., Any]) -> None:
    mine = tenant(rows=3)
    backup = back_up(mine)
    add_customers(mine.connection, 2)
    shown = manage("restore_backup", str(backup.pk), "--tables", "customers", "--dry-run", "--json")
    found = json.loads(shown.out)["preview"]
    assert [(table["name"], table["rows_now"] - table["rows_then"]) for table in found["tables"]] == [("customers", 2)]
    assert found["rows_then"] < backup.rows or backup.rows == found["tables"][0]["rows_then"]
    assert found["bytes"] < backup.raw_bytes
    assert not any("schema" in change for change in found["changes"])
    body = {"target": "tables", "tables": ["orders"], "dry_run": True}
    answer = api_client("backups:restore").post(f"/api/v1/backups/{backup.pk}/restore", body)
    assert [table["name"] for table in answer.json()["tables"]] == ["orders"], answer.json()
    assert manage("restore_backup", str(backup.pk), "--tables", "nothing", "--dry-run").code != 0


def test_rest_restores_in_place_and_undoes_it(tenant: Callable[..., Any], api_client: Callable[..., Any]) -> None:
    mine = tenant(rows=2)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    api = api_client("backups:restore", "backups:read")
    where = f"/api/v1/backups/{backup.pk}/restore"
    shown = api.post(where, {"target": "same", "dry_run": True})
    assert shown.status_code == 200
    assert shown.json()["rows_then"] == backup.rows
    wrong = api.post(where, {"target": "same", "confirm_slug": "else", "reason": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid")
    body = {"target": "same", "confirm_slug": mine.slug, "reason": "wrong import", "backup_before": False}
    begun = api.post(where, body)
    assert begun.status_code == 202, begun.json()
    operations.work(begun.json()["id"])
    assert count(mine.connection) == 2
    (kept,) = api.get(f"/api/v1/tenants/{mine.pk}/kept-schemas").json()["results"]
    assert (kept["state"], kept["backup"]) == ("kept", str(backup.pk))
    undo = api.post(f"/api/v1/kept-schemas/{kept['id']}/undo", {"confirm_slug": mine.slug, "reason": "no"})
    assert undo.status_code == 202
    operations.work(undo.json()["id"])
    assert count(mine.connection) == 3
    done = api.post(f"/api/v1/kept-schemas/{kept['id']}/confirm", {})
    assert done.status_code == 202
    operations.work(done.json()["id"])
    assert KeptSchema.objects.get(pk=kept["id"]).state == "dropped"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"target": "new"}, "slug"),
        ({"target": "new", "slug": "a-copy", "confirm_slug": "a-copy"}, "confirm_slug"),
        ({"target": "same"}, "confirm_slug"),
        ({"target": "elsewhere"}, "target"),
        ({"target": "same", "confirm_slug": "x", "reason": "x", "keep_days": 1.5}, "keep_days"),
    ],
)
def test_rest_refuses_by_name_what_does_not_belong_together(
    tenant: Callable[..., Any], api_client: Callable[..., Any], body: dict[str, Any], field: str
) -> None:
    backup = back_up(tenant())
    answer = api_client("backups:restore").post(f"/api/v1/backups/{backup.pk}/restore", body)
    assert answer.status_code == 400
    assert field in json.dumps(answer.json()["errors"])


def test_the_commands_restore_confirm_and_undo(tenant: Callable[..., Any]) -> None:
    mine = tenant(rows=2)
    backup = back_up(mine)
    add_customers(mine.connection, 1)
    shown = manage("restore_backup", str(backup.pk), "--in-place", "--dry-run")
    assert "rows then" in shown.out
    assert not Operation.objects.filter(kind="backup.restore", tenant=mine.pk).exists()
    refused = manage("restore_backup", str(backup.pk), "--in-place", "--confirm", "else", "--reason", "x")
    assert refused.code != 0
    words = [
        "restore_backup",
        str(backup.pk),
        "--in-place",
        "--confirm",
        mine.slug,
        "--reason",
        "x",
        "--here",
        "--json",
    ]
    done = manage(*words)
    assert done.code == 0, done.err
    kept = json.loads(done.out)["kept"]
    assert count(mine.connection) == 2
    undone = manage("undo_restore", str(kept), "--confirm", mine.slug, "--reason", "x", "--here")
    assert undone.code == 0, undone.err
    assert count(mine.connection) == 3
    assert manage("confirm_restore", str(kept), "--here").code == 0
    slug = fresh_slug()
    copied = manage("restore_backup", str(backup.pk), "--into-new", slug, "--here")
    assert copied.code == 0, copied.err
    assert "collect_credentials" in copied.out
    assert Tenant.objects.get(slug=slug).state == "active"


def test_a_backup_is_written_out_for_a_reason_and_on_record(tenant: Callable[..., Any], tmp_path: Path) -> None:
    mine = tenant(rows=2)
    backup, target = back_up(mine), tmp_path / "handover"
    words = ["restore_backup", str(backup.pk), "--to-file", str(target), "--confirm", mine.slug]
    assert manage(*words).code != 0, "without a reason"
    assert not target.exists()
    done = manage(*words, "--reason", "they leave")
    assert done.code == 0, done.err
    assert "NOT ENCRYPTED" in done.out
    assert (target / "restore.sql").exists()
    (event,) = events("backup.export", backup)
    assert (event.reason, event.after["directory"]) == ("they leave", str(target))
    assert manage(*words, "--reason", "again").code != 0, "it is there already"
    assert events("backup.export", backup).count() == 1
