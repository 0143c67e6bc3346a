"""A private instance recovered to one moment: restored, started on a socket only, read, and removed.

Everything of it lies in one directory with a name that occurs nowhere else, by which files and processes are found
whoever started them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from backups.models import ClusterArchive, Recovery
from backups.pitr import archive as archives
from backups.pitr import programs
from backups.pitr.errors import NoSpace, OutOfRange, RecoveryFailed
from backups.pitr.programs import Refused
from tenants.exceptions import Conflict, ControlPlaneError
from tenants.postgres import Dsn

PORT = 5432
SPARE_BYTES = 512 * 1024 * 1024
MOST_SOCKET_PATH = 107  # the kernel's limit
NO_SUCH_DATABASE = 28  # pgBackRest's: what shall be restored is not in the base backup
POLL_SECONDS = 0.3
_FATAL = re.compile(r"(?:FATAL|PANIC):\s+(.*)")


def directory_for(archive: ClusterArchive, recovery: Recovery) -> Path:
    """Where an instance goes; short, since a socket's path must be."""
    return archive.scratch / recovery.pk.hex[:16]


def base_backup_for(archive: ClusterArchive, target: datetime) -> str:
    """The newest base backup that ended before the moment. Raises OutOfRange, naming the first moment there is."""
    fitting = [each for each in archive.base_backups if datetime.fromisoformat(each["stopped"]) < target]
    if not fitting:
        first = archive.earliest
        since = f"from {first.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00 on" if first else "no moment yet: no base backup"
        raise OutOfRange(
            f"That moment cannot be recovered any more; there is {since}.",
            earliest=first.isoformat() if first else None,
        )
    return str(max(fitting, key=lambda each: each["stopped"])["label"])


def check_space(archive: ClusterArchive, label: str) -> None:
    """Raises NoSpace when the disk would not hold the cluster once more (other databases take none, but what is written
    to them since the base backup does)."""
    chosen = next(each for each in archive.base_backups if each["label"] == label)
    free = shutil.disk_usage(archive.scratch).free
    if free < (needed := chosen["bytes"] + SPARE_BYTES):
        raise NoSpace(
            f"The recovery needs up to {needed >> 20} MiB in {archive.scratch}, and {free >> 20} MiB are free.",
            hint="Make room on the disk, and try again.",
        )


class Scratch:
    """The instance of one `Recovery`."""

    def __init__(self, recovery: Recovery, *, user: str) -> None:
        """`user` is the one login that it lets in."""
        self.recovery, self.archive = recovery, recovery.archive
        self.place = Path(recovery.directory)
        self.data = self.place / "data"
        self.log = self.place / "server.log"
        self.account = archives.account(self.archive)
        self._user = user

    def dsn(self) -> Dsn:
        """How it is read."""
        return Dsn(str(self.place), PORT, self.recovery.dbname, self._user, pooled=False)

    # --- files ---------------------------------------------------------------------------------------------------

    def restore(self, alive: Callable[[], None]) -> None:
        """The base backup's files, anew: the tenant's database, and of the others nothing but names and sizes.

        Raises NoSpace, Refused.
        """
        self.remove()
        for path in (self.archive.scratch, self.place, self.data, self.place / "tablespaces", self.place / "lock"):
            self.account.make_directory(path)
        target = self.recovery.target.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        options = [
            f"--pg1-path={self.data}", f"--set={self.recovery.base_backup}", "--type=time", f"--target={target}",
            "--target-action=promote", "--archive-mode=off", f"--tablespace-map-all={self.place}/tablespaces",
            f"--lock-path={self.place}/lock", f"--log-path={self.place}",
        ]  # fmt: skip
        only = f"--db-include={self.recovery.dbname}"
        try:
            archives.call(self.archive, "restore", *options, only, alive=alive, owner=self.account)
        except Refused as error:
            if error.number != NO_SUCH_DATABASE:
                raise
            # Made after the base backup: WAL brings it, and with it whatever it was made from.
            archives.call(self.archive, "restore", *options, alive=alive, owner=self.account)

    def remove(self) -> None:
        """End what uses it, and take all of it away. Raises RecoveryFailed."""
        if self.place.parent != self.archive.scratch:
            raise RecoveryFailed(f"{self.place} is no place for scratch instances.")
        programs.end_all(self.place)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.place)

    # --- the server ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self, alive: Callable[[], None]) -> Iterator[Dsn]:
        """The instance, recovered to its moment, for the block; stopped at its end. A later attempt
        goes on where that one was. Raises OutOfRange, RecoveryFailed, NoSpace."""
        programs.end_all(self.place)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self.account.write(self.place / "pg_hba.conf", f'local "{self.recovery.dbname}" "{self._user}" trust\n')
        self.account.write(self.place / "pg_ident.conf", "")
        self.log.unlink(missing_ok=True)
        self.account.write(self.log, "")
        with self.log.open("a") as handle:
            child = subprocess.Popen(  # noqa: S603
                self.account.command(self._command(), death_signal="QUIT"), stdin=subprocess.DEVNULL, stdout=handle,
                stderr=handle, cwd="/", env=programs.environment(), start_new_session=True,
            )  # fmt: skip
        try:
            self._wait(child, alive)
            yield self.dsn()
        finally:
            # Only our own: whoever has taken the operation over may have one running there.
            programs.end(child, signal.SIGQUIT)

    def _command(self) -> list[str]:
        """Settings that nothing in the restored files can change: reached by nobody else, archiving nothing, running
        nobody's code, and throwing away safety for speed."""
        settings = {
            "port": PORT, "listen_addresses": "", "unix_socket_directories": self.place, "external_pid_file": "",
            "unix_socket_permissions": "0700", "hba_file": self.place / "pg_hba.conf",
            "ident_file": self.place / "pg_ident.conf", "config_file": self._configuration(),
            "archive_mode": "off", "archive_command": "", "primary_conninfo": "",
            # It takes connections only once it is recovered, and need not be as large as the original.
            "hot_standby": "off", "max_connections": 20, "max_wal_senders": 0, "shared_buffers": "128MB",
            "max_locks_per_transaction": 2048, "max_prepared_transactions": 200, "max_worker_processes": 8,
            "shared_preload_libraries": self._preloaded(), "session_preload_libraries": "", "ssl": "off",
            "local_preload_libraries": "", "autovacuum": "off", "fsync": "off", "full_page_writes": "off",
            "logging_collector": "off", "log_destination": "stderr", "lc_messages": "C", "huge_pages": "off",
            "recovery_init_sync_method": "syncfs", "cluster_name": "point-in-time",
        }  # fmt: skip
        command = [f"{self.archive.programs}/postgres", "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _configuration(self) -> Path:
        """A file of nothing: the server's own may lie elsewhere, or include what is not here."""
        path = self.place / "postgresql.conf"
        self.account.write(path, "")
        return path

    def _preloaded(self) -> str:
        return "timescaledb" if "timescaledb" in self.archive.cluster.extensions else ""

    def _wait(self, child: subprocess.Popen[bytes], alive: Callable[[], None]) -> None:
        """Until it is recovered and takes connections."""
        while True:
            alive()
            if child.poll() is not None:
                raise self._failure(child.returncode)
            try:
                psycopg.connect(self.dsn().conninfo(), autocommit=True).close()
            except psycopg.OperationalError as error:
                if "does not exist" in str(error) and "socket" not in str(error):
                    raise Conflict(
                        "At that moment the tenant's database, or the login that reads it, was not there.",
                        code="not_there_then",
                    ) from error
                time.sleep(POLL_SECONDS)
            else:
                return

    def _failure(self, code: int) -> ControlPlaneError:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if "recovery ended before configured recovery target was reached" in text:
            return OutOfRange("The archive ends before that moment.", hint="Choose an earlier one.")
        if "No space left" in text:
            return NoSpace("The disk became full during the recovery.", hint="Make room, and try again.")
        # What our own early connections were told is no reason.
        reasons = [each for each in _FATAL.findall(text) if not each.startswith("the database system is")]
        reasons = reasons or [f"exit code {code}, {' '.join(text.strip().splitlines()[-1:]) or 'without a word'}"]
        return RecoveryFailed(f"The scratch instance ended: {reasons[0].strip()[:300]}.")


def left_of(recovery: Recovery) -> list[str]:
    """What there is of an instance: its directory, its processes."""
    place = Path(recovery.directory)
    found = [f"process {pid}" for pid in programs.using(place)]
    return [*([str(place)] if os.path.lexists(place) else []), *found]
