"""Workers that die over a restore, at every point of every step: in the end it is done, and nothing is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backups.models import Backup, KeptSchema
from backups.services import drills, restore
from backups.services import kept as kept_services
from provisioning import credentials
from tenants import operations
from tenants.models import Operation, Tenant
from tests.backups.support import BY, add_customers, back_up
from tests.backups.test_restore import count
from tests.provisioning.support import leftovers
from tests.provisioning.test_crashes import LAST, LEASE, POINTS, died, settle
from tests.support.fixtures import fresh_slug
from tests.support.killing_worker import die_at
from tests.support.processes import Running, running, wait_for

SAME = (
    "check the backup", "back up the present state", "create roles", "restore the data", "note open logins",
    "close logins and end sessions", "exchange the schemas", "open logins",
)  # fmt: skip
NEW = ("check the backup", "create roles", "restore the data", "open login")
UNDO = ("exchange back", "open logins again", "remove what was restored")


@pytest.fixture(scope="module")
def mortal_worker(home: Any) -> Iterator[Running]:
    """A worker that dies when told to, with beat, whose sweeps find what the dead leave."""
    command = [sys.executable, "-m", "tests.support.killing_worker", "--beat", "--concurrency", "2"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with running(command, **LEASE) as process:
        wait_for(lambda: " ready" in process.log, what="the worker's start", seconds=60, running=process)
        yield process


def points(steps: tuple[str, ...]) -> list[str]:
    return [f"{step}: {point}" for step in steps for point in POINTS[1:]] + LAST


def test_a_restore_in_place_survives_a_kill_at_every_point(
    tenant: Callable[..., Any], home: Any, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = []
    for point in points(SAME):
        mine = tenant(rows=2)
        backup = back_up(mine)
        add_customers(mine.connection, 1)
        prepared.append((point, mine, backup))
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)  # the point must be agreed before anybody begins
    begun = []
    for point, mine, backup in prepared:
        restoring = restore.restore_same(backup=backup, confirm_slug=mine.slug, reason="test", **BY)
        die_at(restoring.operation, point)
        begun.append((point, mine, restoring))
    settle([restoring.operation for _, _, restoring in begun], seconds=300, worker=mortal_worker)
    for point, mine, restoring in begun:
        operation = Operation.objects.get(pk=restoring.operation.pk)
        assert died(operation), f"nobody died at {point!r}"
        assert operation.state == "succeeded", f"{point}: {operation.error}"
        assert count(mine.connection) == 2, point
        kept = KeptSchema.objects.get(pk=restoring.kept.pk)
        assert kept.state == "kept", point
        assert leftovers(home.cluster, kept.incoming_schema) == [], point
        before = Backup.objects.get(origin="before_restore", origin_id=mine.pk)
        assert (before.state, before.rows) == ("succeeded", restoring.kept.backup.rows + 1), point


def test_a_restore_that_fails_is_undone_even_when_its_undoer_dies(
    tenant: Callable[..., Any], home: Any, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    prepared = []
    for point in [f"{step}: {point}" for step in UNDO for point in POINTS]:
        mine = tenant(rows=1)
        prepared.append((point, mine, back_up(mine)))
    for file in (tmp_path / "backups").rglob("data-0001.cpb"):
        content = file.read_bytes()
        file.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)
    begun = []
    for point, mine, backup in prepared:
        restoring = restore.restore_same(backup=backup, confirm_slug=mine.slug, reason="test", **BY)
        die_at(restoring.operation, point)
        begun.append((point, mine, restoring))
    settle([restoring.operation for _, _, restoring in begun], seconds=200, worker=mortal_worker)
    for point, mine, restoring in begun:
        operation = Operation.objects.get(pk=restoring.operation.pk)
        assert died(operation), f"nobody died at {point!r}"
        assert (operation.state, operation.error["code"]) == ("failed", "backup_damaged"), point
        assert count(mine.connection) == 1, point
        assert not KeptSchema.objects.filter(tenant=mine.pk).exists()
        assert leftovers(home.cluster, restoring.kept.incoming_schema) == []


def test_a_copy_survives_a_kill_at_every_point(
    tenant: Callable[..., Any], mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = back_up(tenant(rows=2))
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)
    begun = []
    for point in points(NEW):
        restoring = restore.restore_to_new(backup=backup, slug=fresh_slug(), **BY)
        die_at(restoring.operation, point)
        begun.append((point, restoring))
    settle([restoring.operation for _, restoring in begun], seconds=200, worker=mortal_worker)
    for point, restoring in begun:
        operation = Operation.objects.get(pk=restoring.operation.pk)
        assert died(operation), f"nobody died at {point!r}"
        assert operation.state == "succeeded", f"{point}: {operation.error}"
        assert Tenant.objects.get(pk=restoring.tenant.pk).state == "active"
        assert count(credentials.collect_credentials(operation_id=operation.pk, **BY)) == 2, point


def test_drills_undoings_and_tables_survive_kills(
    tenant: Callable[..., Any], home: Any, mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    drilled, undone, replaced = tenant(rows=1), tenant(rows=2), tenant(rows=3)
    proof, back, rows = back_up(drilled), back_up(undone), back_up(replaced)
    add_customers(undone.connection, 1)
    add_customers(replaced.connection, 1)
    first = restore.restore_same(backup=back, confirm_slug=undone.slug, reason="x", backup_before=False, **BY)
    operations.work(first.operation.pk)
    assert count(undone.connection) == 2
    monkeypatch.setattr(operations.queue, "wake", lambda _: None)
    sure: dict[str, Any] = {"reason": "x", **BY}
    drill = drills.run_drill(backup=proof, **BY)
    undo = kept_services.undo_restore(kept=KeptSchema.objects.get(tenant=undone.pk), confirm_slug=undone.slug, **sure)
    tables = restore.restore_tables(
        backup=rows, tables=["customers", "orders"], confirm_slug=replaced.slug, backup_before=False, **sure
    )
    chosen = {
        "compare the content: worked": drill.operation,
        "exchange the schemas: worked": undo,
        "replace the rows: worked": tables.operation,
    }
    for point, operation in chosen.items():
        die_at(operation, point)
    settle(list(chosen.values()), seconds=120, worker=mortal_worker)
    for point, operation in chosen.items():
        operation.refresh_from_db()
        assert died(operation), f"nobody died at {point!r}"
        assert operation.state == "succeeded", f"{point}: {operation.error}"
    assert (count(undone.connection), count(replaced.connection)) == (3, 3)
    drill.drill.refresh_from_db()
    assert drill.drill.state == "succeeded"
    assert tables.kept is not None
    for schema in (drill.drill.scratch_schema, tables.kept.incoming_schema):
        assert leftovers(home.cluster, schema) == []
