"""Recoveries that are killed, cancelled or forgotten: what was asked for comes in the end, or nothing is left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from backups.models import Backup, Recovery
from backups.pitr import due, programs, scratch, services
from backups.pitr.errors import NoSpace, PitrUnavailable
from backups.pitr.scratch import left_of
from tenants import operations
from tenants.models import Operation
from tests.backups.pitr.support import Place, done, moment, nothing_left, work
from tests.backups.support import BY, add_customers
from tests.support.killing_worker import die_at
from tests.support.processes import Running, running, wait_for

LEASE = {"OPERATION_LEASE_SECONDS": "2", "OPERATION_RETRY_SECONDS": "0.2", "OPERATION_SWEEP_SECONDS": "1"}
POINTS = (
    "restore the base backup: worked", "recover to the moment: worked", "copy the data: worked",
    "remove the scratch instance: worked", "finish: uncommitted",
)  # fmt: skip


@pytest.fixture
def mortal_worker(place: Place) -> Iterator[Running]:
    """A worker that dies when told to, with beat, whose sweeps find what the dead leave."""
    command = [sys.executable, "-m", "tests.support.killing_worker", "--beat", "--concurrency", "2"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with running(command, **LEASE) as process:
        wait_for(lambda: " ready" in process.log, what="the worker's start", seconds=60, running=process)
        yield process


def test_a_recovery_survives_a_kill_at_every_step(
    place: Place, tenant: Callable[..., Any], mortal_worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenants.operations import queue

    monkeypatch.setattr(queue, "wake", lambda operation: None)
    begun = []
    for point in POINTS:
        mine = tenant(rows=2)
        then = moment()
        add_customers(mine.connection, 3)
        with transaction.atomic():  # nobody sees it before it is to die
            begun.append(services.recover_tenant(tenant_id=mine.pk, to=then, **BY))
            die_at(begun[-1].operation, point)
    ids = [each.operation.pk for each in begun]
    wait_for(
        lambda: not Operation.objects.filter(pk__in=ids, state__in=["pending", "running"]).exists(),
        what="the end of all", seconds=120, running=mortal_worker,
    )  # fmt: skip
    counts = set()
    for each in begun:
        each.operation.refresh_from_db()
        assert each.operation.state == "succeeded", each.operation.error
        assert each.operation.attempt == 2, "it was killed once"
        counts.add(Backup.objects.get(pk=each.backup.pk, state="succeeded").rows)
        assert nothing_left(each.recovery)
    assert len(counts) == 1, "each has the rows of its moment, and no more"


def test_cancelled_at_any_step_it_leaves_nothing(tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tenant()
    begin = operations.Run._begin_step
    for chosen in ("recover to the moment", "copy the data", "remove the scratch instance"):

        def cancel_before(self: Any, name: str, chosen: str = chosen) -> None:
            if name == chosen and not self.operation.unwinding:
                operations.cancel(Operation.objects.get(pk=self.operation.pk), **BY)
            begin(self, name)

        begun = services.recover_tenant(tenant_id=mine.pk, to=moment(), **BY)
        with monkeypatch.context() as patch:
            patch.setattr(operations.Run, "_begin_step", cancel_before)
            assert work(begun.operation).state == "cancelled", (chosen, begun.operation.error)
        assert nothing_left(begun.recovery), chosen
        backup = Backup.objects.get(pk=begun.backup.pk)
        assert backup.state == "failed"
        assert not backup.copies.exclude(state="deleted").exists()


def test_what_nobody_works_on_any_more_is_removed_with_its_processes(place: Place, tenant: Callable[..., Any]) -> None:
    mine = tenant()
    begun = services.recover_tenant(tenant_id=mine.pk, to=moment(), **BY)
    operations.cancel(begun.operation, **BY)
    recovery = begun.recovery
    Recovery.objects.filter(pk=recovery.pk).update(removed_at=None, started_at=timezone.now() - timedelta(hours=1))
    directory = scratch.directory_for(recovery.archive, recovery)
    (directory / "data").mkdir(parents=True)
    with subprocess.Popen(["/usr/bin/sleep", "300"], cwd=directory / "data") as left:
        assert len(left_of(recovery)) == 2
        due.keep_archives()
        assert left.wait(5) != 0
    assert nothing_left(recovery)


def test_a_disk_without_room_and_a_missing_program_are_said(
    place: Place, tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = place.row
    label = archive.base_backups[0]["label"]
    archive.base_backups[0]["bytes"] = 1 << 60
    with pytest.raises(NoSpace, match="MiB are free"):
        scratch.check_space(archive, label)
    mine = tenant()
    monkeypatch.setattr(programs.shutil, "which", lambda name: None)
    with pytest.raises(PitrUnavailable, match="pgBackRest is not installed"):
        services.recover_tenant(tenant_id=mine.pk, to=moment(), **BY)


def test_base_backups_are_taken_when_they_are_due(place: Place) -> None:
    archive = place.row
    now = timezone.now()
    assert due.due_kind(archive, now) is None
    assert due.due_kind(archive, now + timedelta(days=1)) in ("full", "diff")
    assert due.due_kind(archive, now + timedelta(days=8)) == "full"
    assert not due.begin_due(archive, now)
    assert due.begin_due(archive, now + timedelta(days=8))
    assert not due.begin_due(archive, now + timedelta(days=8)), "one at a time"
    operation = Operation.objects.filter(kind="cluster.base_backup", cluster=place.cluster).latest("created_at")
    before = len(archive.base_backups)
    done(operation)
    assert len(place.row.base_backups) == before + 1
