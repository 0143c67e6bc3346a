"""PostgreSQL that dies in the middle, and storages that are full: nothing half-done counts, and the retry succeeds."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backups.engine.sessions import NAME, close_kept
from backups.engine.verify import verify
from backups.models import Backup, KeptSchema
from backups.services import removal, restore, take
from backups.services.common import keyring
from backups.storage.opening import open_storage
from controlplane.embedded.postgres import EmbeddedPostgres
from tenants import operations
from tenants.models import Operation
from tests.backups.support import BY, Home, add_customers, back_up, keys, new_disk, prefixes, whole
from tests.backups.test_restore import count
from tests.provisioning.support import leftovers

ROWS, WIDTH = 6_000, 2_048


@pytest.fixture(scope="module")
def frail(template: Any) -> Iterator[tuple[EmbeddedPostgres, Home]]:
    """A server of this module's own, which may be killed, with a cluster on it."""
    from tenants.postgres import close_pools
    from tests.isolation.arena import Server, cluster_at

    root = Path(tempfile.mkdtemp(prefix="cp-frail-", dir="/tmp"))
    root.chmod(0o711)
    server = EmbeddedPostgres(root / "postgres")  # a crash must not forget what was committed
    try:
        server.start()
        server.bootstrap()
        with cluster_at(Server(18, server.url, server.superuser_url), "lockdown") as cluster:
            yield server, Home(server, cluster, template)
            close_pools()
            close_kept()
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def soon(settings: Any) -> None:
    settings.OPERATION_RETRY_SECONDS = 0.2


def kill_backend(server: EmbeddedPostgres, pid: int) -> None:
    """The server ends all sessions then, and recovers by itself."""
    os.kill(pid, signal.SIGKILL)


def stop_at_once(server: EmbeddedPostgres, pid: int) -> None:
    """As if the machine were gone, until somebody starts it again."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGQUIT)
    limit = time.monotonic() + 20
    while server.is_running():
        assert time.monotonic() < limit
        time.sleep(0.05)


FAULTS = [kill_backend, stop_at_once]


class Killer(threading.Thread):
    """Does that to the server once one of the engine's sessions is in a statement like this."""

    def __init__(self, server: EmbeddedPostgres, like: str, fault: Callable[[EmbeddedPostgres, int], None]) -> None:
        super().__init__()
        self.server, self.like, self.fault = server, like, fault
        self.hit = False
        self.start()

    def run(self) -> None:
        limit = time.monotonic() + 60
        with psycopg.connect(self.server.superuser_url, autocommit=True) as watcher:
            while time.monotonic() < limit:
                row = watcher.execute(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND state = 'active'"
                    " AND query LIKE %s",
                    [NAME, self.like],
                ).fetchone()
                if row:
                    break
                time.sleep(0.005)
            else:
                return
        self.fault(self.server, row[0])
        self.hit = True

    def over(self) -> None:
        """It is done, and the server runs again: started by a thread that lasts, whose end would end it."""
        self.join()
        assert self.hit
        if not self.server.is_running():
            self.server.stop()
            self.server.start()


def settle(operation: Operation) -> Operation:
    """Work on it until it is over."""
    limit = time.monotonic() + 60
    while operation.state in ("pending", "running", "cancelling"):
        assert time.monotonic() < limit, operation.error
        time.sleep(0.2)
        operations.work(operation.pk)
        operation.refresh_from_db()
    return operation


@pytest.mark.parametrize("fault", FAULTS)
def test_a_backup_outlives_its_server(
    frail: tuple[EmbeddedPostgres, Home], tmp_path: Path, fault: Callable[[EmbeddedPostgres, int], None]
) -> None:
    server, home = frail
    slow = new_disk(tmp_path / "slow", bandwidth=2_000_000)
    mine = home.tenant(3, slow)
    add_customers(mine.connection, ROWS, width=WIDTH)
    asked = take.backup_tenant(tenant_id=mine.pk, **BY)
    killer = Killer(server, "COPY%TO STDOUT%", fault)
    operations.work(asked.operation.pk)
    killer.over()
    asked.operation.refresh_from_db()
    asked.backup.refresh_from_db()
    assert (asked.operation.state, asked.backup.state) == ("running", "running"), asked.operation.error
    assert asked.operation.error["code"] in ("cluster_unavailable", "cluster_busy")
    assert keys(slow) == [], "nothing that looks like one"
    assert settle(asked.operation).state == "succeeded", asked.operation.error
    assert asked.operation.attempt > 1
    removal.reap()
    copy = asked.backup.copies.get(state="stored")
    assert prefixes(slow) == whole(slow) == {copy.prefix}
    verify(storage=open_storage(slow), prefix=copy.prefix, keyring=keyring())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_restore_outlives_its_server_and_the_tenant_has_its_rows_all_the_time(
    frail: tuple[EmbeddedPostgres, Home], tmp_path: Path, fault: Callable[[EmbeddedPostgres, int], None]
) -> None:
    server, home = frail
    mine = home.tenant(3, new_disk(tmp_path / "disk"))
    add_customers(mine.connection, ROWS, width=WIDTH)
    backup = back_up(mine)
    add_customers(mine.connection, 2)
    begun = restore.restore_same(backup=backup, confirm_slug=mine.slug, reason="test", backup_before=False, **BY)
    killer = Killer(server, "COPY%FROM STDIN%", fault)
    operations.work(begun.operation.pk)
    killer.over()
    begun.operation.refresh_from_db()
    assert begun.operation.state == "running", begun.operation.error
    assert begun.kept is not None
    assert KeptSchema.objects.get(pk=begun.kept.pk).state == "restoring"
    for _ in range(50):  # recovering
        try:
            assert count(mine.connection) == ROWS + 5
            break
        except psycopg.OperationalError:
            time.sleep(0.2)
    assert settle(begun.operation).state == "succeeded", begun.operation.error
    assert count(mine.connection) == ROWS + 3
    assert leftovers(home.cluster, begun.kept.incoming_schema) == []


@contextmanager
def little_room(path: Path, size: int) -> Iterator[Callable[[], None]]:
    """A directory with `size` bytes of room, and a way to make more: a file system of its own where we may mount one,
    else a limit on the size of our files."""
    path.mkdir()
    with ExitStack() as stack:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
        )
        if mounted.returncode == 0:
            stack.callback(subprocess.run, ["umount", str(path)], check=True)
            yield lambda: (subprocess.run(["mount", "-o", "remount,size=100m", str(path)], check=True), None)[1]
        else:
            was = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, was[1]))
            stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, was)
            yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, was)


def test_a_full_storage_fails_the_backup_and_leaves_nothing(home: Home, tmp_path: Path) -> None:
    room = 512 * 1024
    with little_room(tmp_path / "full", room) as make_room:
        disk = new_disk(tmp_path / "full")
        mine = home.tenant(3, disk)
        small = back_up(mine)
        add_customers(mine.connection, ROWS // 4, width=WIDTH)
        asked = take.backup_tenant(tenant_id=mine.pk, **BY)
        operations.work(asked.operation.pk)
        asked.operation.refresh_from_db()
        asked.backup.refresh_from_db()
        assert (asked.operation.state, asked.operation.error["code"]) == ("failed", "storage_full")
        assert asked.backup.state == "failed"
        assert whole(disk) == prefixes(disk) == {small.copies.get().prefix}, "the earlier one is as good as before"
        verify(storage=open_storage(disk), prefix=small.copies.get().prefix, keyring=keyring())
        assert list((tmp_path / "full").rglob("*.part")) == []
        make_room()
        again = settle(operations.retry(asked.operation, **BY))
        assert again.state == "succeeded", again.error
        assert Backup.objects.get(operation=again).rows > small.rows
        assert len(whole(disk)) == 2
