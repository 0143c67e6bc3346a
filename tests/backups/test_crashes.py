"""Workers that die by SIGKILL at every point of a backup: in the end there is one whole backup and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from backups.engine.verify import verify
from backups.models import Backup
from backups.services import copies, removal, take
from backups.services.common import keyring
from backups.storage.opening import open_storage
from tenants.models import Operation
from tests.backups.support import BY, add_customers, age, back_up, new_disk, prefixes, whole
from tests.support.killing_worker import die_at
from tests.support.processes import Running, running, wait_for

LEASE = {"OPERATION_LEASE_SECONDS": "2", "OPERATION_RETRY_SECONDS": "0.2", "OPERATION_SWEEP_SECONDS": "1"}
POINTS = ("before", "begun", "worked")
TAKE = [f"copy the data: {point}" for point in POINTS] + ["finish: uncommitted", "finish: committed"]
COPY = [f"{step}: {point}" for step in ("copy the files", "read back") for point in POINTS] + ["finish: uncommitted"]
EXPIRE = [f"{step}: {point}" for step in ("mark", "delete files") for point in POINTS] + ["finish: uncommitted"]


@pytest.fixture(scope="module")
def mortal_worker(template: Any) -> Iterator[Running]:
    """A worker that dies when told to, with beat, whose sweeps find what the dead leave."""
    command = [sys.executable, "-m", "tests.support.killing_worker", "--beat", "--concurrency", "2"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with running(command, **LEASE) as process:
        wait_for(lambda: " ready" in process.log, what="the worker's start", seconds=60, running=process)
        yield process


def settle(chosen: list[Operation], worker: Running, seconds: float = 90) -> None:
    ids, limit = [operation.pk for operation in chosen], time.monotonic() + seconds
    open_ones = Operation.objects.filter(pk__in=ids, state__in=["pending", "running", "cancelling"])
    while open_ones.exists():
        assert time.monotonic() < limit, f"{list(open_ones.values())}\n{worker.log[-6000:]}"
        time.sleep(0.1)
    for operation in chosen:
        operation.refresh_from_db()


def died(operation: Operation) -> bool:
    from django.core.cache import cache

    return cache.get(f"died:{operation.pk}") is not None


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations are found by beat alone: nobody is faster than `die_at`."""
    from tenants.operations import queue

    monkeypatch.setattr(queue, "wake", lambda operation: None)


def test_a_backup_survives_a_kill_at_every_point(tenant: Any, disk: Any, mortal_worker: Running, unsent: None) -> None:
    begun = []
    for point in TAKE:
        mine = tenant(rows=5)
        with transaction.atomic():  # nobody sees it before it is to die
            asked = take.backup_tenant(tenant_id=mine.pk, **BY)
            die_at(asked.operation, point)
        begun.append(asked)
    settle([asked.operation for asked in begun], mortal_worker)
    for point, asked in zip(TAKE, begun, strict=True):
        assert died(asked.operation), point
        assert asked.operation.state == "succeeded", (point, asked.operation.error)
        asked.backup.refresh_from_db()
        assert asked.backup.state == "succeeded", point
    removal.reap()
    backups = Backup.objects.filter(pk__in=[asked.backup.pk for asked in begun])
    stored = {copy.prefix for backup in backups for copy in backup.copies.filter(state="stored")}
    assert len(stored) == len(TAKE)
    assert prefixes(disk) == whole(disk) == stored
    for prefix in stored:
        verify(storage=open_storage(disk), prefix=prefix, keyring=keyring())


def test_a_backup_survives_a_kill_in_the_middle_of_writing(tenant: Any, tmp_path: Path, mortal_worker: Running) -> None:
    """The process that writes is killed from outside, whatever it is doing just then."""
    mine, slow = tenant(), new_disk(tmp_path / "slow", bandwidth=400_000)
    add_customers(mine.connection, 2_000, width=1_024)
    asked = take.backup_tenant(tenant_id=mine.pk, storage=slow, **BY)
    limit = time.monotonic() + 60
    while not (parts := list((tmp_path / "slow").rglob("*.part"))):
        assert time.monotonic() < limit
        time.sleep(0.02)
    asked.operation.refresh_from_db()
    os.kill(int(asked.operation.worker.rpartition(":")[2]), signal.SIGKILL)
    settle([asked.operation], mortal_worker)
    asked.backup.refresh_from_db()
    assert (asked.operation.state, asked.backup.state) == ("succeeded", "succeeded"), asked.operation.error
    assert asked.operation.attempt > 1
    removal.reap()
    assert whole(slow) == {asked.backup.copies.get(state="stored").prefix}
    assert prefixes(slow) == whole(slow)
    assert [p for p in parts if p.exists()], "what the kill left is there until it is old enough to be swept"
    open_storage(slow).sweep(datetime.now(UTC))
    assert list((tmp_path / "slow").rglob("*.part")) == []


def test_copies_and_removals_survive_a_kill_at_every_point(
    tenant: Any, disk: Any, tmp_path: Path, mortal_worker: Running, unsent: None
) -> None:
    second = new_disk(tmp_path / "second")
    copied, expired = [], []
    for point in COPY:
        backup = back_up(tenant())
        (operation,) = copies.begin_copies(backup, backup.tenant, backup.copies.get().prefix, [second.pk])
        die_at(operation, point)
        copied.append((point, backup, operation))
    for point in EXPIRE:
        mine = tenant(keep_last=1, keep_daily=0, min_age_days=0)
        old, new = back_up(mine), back_up(mine)
        age(old, days=3)
        assert removal.expire_tenant(mine) == 1
        operation = Operation.objects.get(kind="backup.expire", tenant=mine)
        die_at(operation, point)
        expired.append((point, old, new, operation))
    settle([row[-1] for row in (*copied, *expired)], mortal_worker)
    for point, backup, operation in copied:
        assert operation.state == "succeeded", (point, operation.error)
        assert backup.copies.get(storage=second).state == "stored", point
    assert len(whole(second)) == len(COPY)
    for point, old, new, operation in expired:
        assert operation.state == "succeeded", (point, operation.error)
        old.refresh_from_db()
        new.refresh_from_db()
        assert (old.state, new.state) == ("expired", "succeeded"), point
        assert f"{old.origin_id}/{old.pk}" not in prefixes(disk)
