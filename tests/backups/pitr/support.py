"""The archiving cluster, and what is asked of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from backups.models import ClusterArchive, Recovery
from backups.pitr import services
from backups.pitr.scratch import left_of
from backups.pitr.setting_up import SetUp, set_up_archive
from tenants import operations
from tenants.hardening.prepare import prepare_cluster
from tenants.models import Cluster, Operation
from tenants.postgres import close_pools
from tests.backups.support import BY


@dataclass
class Place:
    """Where tenants live whose past can be recovered."""

    server: Any
    cluster: Any
    template: Any
    root: Path
    first: SetUp | None = None

    def set_up(self) -> None:
        """As an operator does it: prepared, archiving set up, the server restarted, set up once more, backed up."""
        url = self.server.superuser_url
        prepare_cluster(cluster=self.cluster, level="lockdown", superuser_url=url, **BY)
        self.cluster.refresh_from_db()
        self.first = self.archive()
        close_pools()
        self.server.stop()
        self.server.start()
        again = self.archive()
        assert (again.archive.state, again.restart, again.todo) == ("active", False, ())
        done(services.base_backup(cluster=self.cluster, kind="full", **BY))

    def archive(self, **options: Any) -> SetUp:
        """`archive_cluster`."""
        return set_up_archive(
            cluster=self.cluster, directory=str(self.root / "archive"), superuser_url=self.server.superuser_url,
            **options, **BY,
        )  # fmt: skip

    @property
    def row(self) -> ClusterArchive:
        """What the registry says of it."""
        return ClusterArchive.objects.get(cluster=self.cluster)

    def forget(self) -> None:
        """The server goes away, and with it its archive."""
        Recovery.objects.filter(archive__cluster=self.cluster).delete()
        ClusterArchive.objects.filter(cluster=self.cluster).delete()
        Cluster.objects.filter(pk=self.cluster.pk).update(state="disabled")


def done(operation: Operation) -> Operation:
    """Carried out here and now."""
    assert work(operation).state == "succeeded", operation.error
    return operation


def work(operation: Operation) -> Operation:
    """Carried out here and now, however it ends."""
    operations.work(operation.pk)
    operation.refresh_from_db()
    return operation


def moment() -> datetime:
    """Now, with nothing that is committed before or after at the same microsecond."""
    time.sleep(0.02)
    now = datetime.now(UTC)
    time.sleep(0.02)
    return now


def rows_of(connection: Any) -> list[tuple[Any, ...]]:
    """All customers, by the tenant's own login."""
    with psycopg.connect(connection.dsn, autocommit=True) as session:
        return session.execute("SELECT * FROM customers ORDER BY 1").fetchall()


def nothing_left(recovery: Recovery) -> bool:
    """No directory, no process; and the row says so."""
    recovery.refresh_from_db()
    return left_of(recovery) == [] and recovery.removed_at is not None
