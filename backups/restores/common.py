"""What all restores share: the copy that is read, and making a schema of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from backups.engine.restore import restore
from backups.models import Backup
from backups.services.common import keyring
from backups.services.sources import Source, whole_copy
from backups.watch import Watch
from backups.workflows import backup_of, passing_trouble
from tenants import schemas
from tenants.models import Cluster, Operation
from tenants.operations import Run
from tenants.postgres import Dsn, connect
from tenants.schemas import ddl, roles


class RestoreWatch(Watch):
    """Tells of bytes and rows, too."""

    def _look(self, done: int, total: int, rows: int = 0) -> None:
        super()._look(done, total)
        if total:
            told = {"bytes": done, "of_bytes": total, "rows": self.rows}
            Operation.objects.filter(pk=self._run.operation.pk, attempt=self._run.attempt).update(result=told)

    rows = 0

    def __call__(self, done: int = 0, total: int = 0, rows: int = 0) -> None:
        """Look, when it is time again."""
        self.rows = max(rows, self.rows)
        super().__call__(done, total, rows)


def remember(run: Run, **values: Any) -> None:
    """Keep what a step found for those after it, whoever carries them out."""
    run.operation.params = {**run.operation.params, **values}
    Operation.objects.filter(pk=run.operation.pk, attempt=run.attempt).update(params=run.operation.params)


@dataclass(frozen=True)
class Filled:
    """What a restore brought. Seconds are those of the restore itself."""

    rows: int
    bytes: int
    seconds: float
    fingerprint: str


def check_backup(run: Run) -> tuple[Backup, Source]:
    """Step: a copy of the backup whose every stored byte is right, before anything is touched."""
    backup = backup_of(run)
    with passing_trouble(), run.step("check the backup") as needed:
        watch = RestoreWatch(run, share=(0, 10))
        source = whole_copy(backup, on_progress=watch) if needed else None
        if source is not None:
            remember(run, copy=source.copy)
    if source is None:  # an earlier attempt has read it; the restore itself does so once more
        source = whole_copy(backup, only=run.operation.params["copy"], on_progress=RestoreWatch(run, share=(10, 10)))
    return backup, source


def work_dsn(cluster: Cluster, source: Source) -> Dsn:
    """The login that restores. On another major version the definition's fingerprint is measured in a scratch database,
    which the provisioner may not make."""
    same = cluster.server_version_num // 10_000 == source.manifest.server_version_num // 10_000
    return cluster.work_dsn() if same else cluster.dsn()


def fill(
    run: Run,
    cluster: Cluster,
    schema: str,
    source: Source,
    *,
    share: tuple[int, int],
    tables: Sequence[str] | None = None,
    ordered: bool = False,
) -> Filled:
    """Make the schema, whose roles are there, from a backup. What an earlier attempt has left of it goes first, and so
    do its sessions, should it still be alive."""
    dsn = work_dsn(cluster, source)
    with connect(dsn, autocommit=True, statement_timeout_ms=0) as link:
        if schemas.exists(link, schema):
            ddl.end_users(link, schema)
            schemas.drop(link, schema, on_batch=lambda _: run.alive())
    watch = RestoreWatch(run, share=share)
    with passing_trouble():
        done = restore(
            dsn=dsn, schema=schema, storage=source.storage, prefix=source.prefix, keyring=keyring(), tables=tables,
            workers=settings.BACKUP_WORKERS, ordered=ordered, on_progress=watch, on_alive=watch,
        )  # fmt: skip
    raw = source.manifest.raw_bytes
    if tables is not None:
        raw = sum(t.raw for t in source.manifest.tables if t.name in tables or t.target in tables)
    return Filled(done.rows, raw, round(done.seconds, 3), done.fingerprint)


def remove(cluster: Cluster, schema: str, alive: Callable[[], None]) -> None:
    """Take a schema beside a tenant's and its roles from the cluster, whatever of them is there."""
    with connect(cluster.work_dsn(), autocommit=True, statement_timeout_ms=0) as link:
        there = roles.existing(link, schema)
        if there:
            roles.close_logins(link, schema, roles.all_logins(schema))
        if schemas.exists(link, schema):
            ddl.end_users(link, schema)
            schemas.drop(link, schema, on_batch=lambda _: alive())
        if there:
            roles.drop_roles(link, schema)
