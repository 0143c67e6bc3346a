"""pgBackRest's side of a cluster's archive: its configuration, what it says of itself, and base backups."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.utils import timezone
from psycopg import Connection

from backups.models import ClusterArchive
from backups.pitr import programs
from backups.pitr.account import Account, account_of
from backups.pitr.programs import Refused
from tenants import secrets
from tenants.postgres import Dsn, connect, load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
LOGIN = "cp_archive"
ARCHIVE_TIMEOUT_SECONDS = 60
WAIT_FOR_ARCHIVE_SECONDS = 60
UNKNOWN_VERSION = 56  # pgBackRest's: a control file of a major that it does not know


def account(archive: ClusterArchive) -> Account:
    """Whom its programs run as. Raises PitrUnavailable."""
    return account_of(Path(archive.data_directory))


def directories(archive: ClusterArchive) -> list[Path]:
    """Of the server's account alone."""
    home = archive.directory
    return [home, *(home / name for name in ("log", "lock", "spool", "scratch")), Path(archive.repository)]


def configuration(archive: ClusterArchive, program: str) -> str:
    """The text of pgbackrest.conf, the repository's password included."""
    home = archive.directory
    return "\n".join([
        "# Written by the control plane; the same password is in its registry, encrypted.",
        "[global]",
        f"repo1-path={archive.repository}",
        "repo1-bundle=y",  # a cluster of many schemas is hundreds of thousands of small files
        "repo1-cipher-type=aes-256-cbc",
        f"repo1-cipher-pass={secrets.decrypt(archive.secret)}",
        f"repo1-retention-full={archive.keep_full}",
        f"compress-type={programs.compression(program)}",
        *(["compress-level=3"] if programs.compression(program) == "zst" else []),
        "process-max=2",
        "start-fast=y",
        f"log-path={home}/log",
        f"lock-path={home}/lock",
        f"spool-path={home}/spool",
        "log-level-console=off",
        "log-level-stderr=error",
        "log-level-file=info",
        "",
        f"[{archive.stanza}]",
        f"pg1-path={archive.data_directory}",
        f"pg1-socket-path={archive.socket_directory}",
        f"pg1-port={archive.port}",
        f"pg1-user={LOGIN}",
        f"pg1-database={archive.cluster.dsn().dbname}",
        "",
    ])  # fmt: skip


def archive_command(archive: ClusterArchive, program: str) -> str:
    """What the server calls for each segment of WAL."""
    return f'{program} --config="{archive.configuration}" --stanza={archive.stanza} archive-push "%p"'


def write_files(archive: ClusterArchive, program: str) -> None:
    """Directories, configuration and password file, as the row says. Raises PitrUnavailable."""
    owner = account(archive)
    for path in directories(archive):
        owner.make_directory(path)
    owner.write(archive.configuration, configuration(archive, program))
    owner.write(archive.passfile, f"*:*:*:{LOGIN}:{secrets.decrypt(archive.password)}\n")


def call(
    archive: ClusterArchive, command: str, *options: str, alive: Callable[[], None] = lambda: None, owner: Any = None
) -> str:
    """What a command of pgBackRest says. Raises Refused, NoSpace, PitrUnavailable."""
    program = programs.pgbackrest()
    argv = [program, f"--config={archive.configuration}", f"--stanza={archive.stanza}", *options, command]
    try:
        return programs.run(owner or account(archive), argv, passfile=archive.passfile, alive=alive)
    except Refused as error:
        if error.number == UNKNOWN_VERSION:
            major = archive.cluster.server_version_num // 10_000
            error.message = f"pgBackRest {programs.version(program)} does not know PostgreSQL {major}."
            error.hint = "Install a newer pgBackRest."
        raise


def session(archive: ClusterArchive) -> Dsn:
    """The server, as the login that archives."""
    return archive.cluster.dsn().replace(user=LOGIN, password=secrets.decrypt(archive.password), pooled=False)


def look(archive: ClusterArchive) -> None:
    """Ask pgBackRest and the server what is there, and write it into the row. Raises Refused, PitrUnavailable,
    ClusterError."""
    found = programs.parsed(call(archive, "info", "--output=json"))
    stanza: dict[str, Any] = next((each for each in found if each["name"] == archive.stanza), {})
    archive.base_backups = [_described(each) for each in stanza.get("backup", []) if not each.get("error")]
    with connect(session(archive), autocommit=True) as link:
        archive.archived_at = _archived(link, "")[1]
    archive.checked_at, archive.last_error = timezone.now(), ""
    archive.save(update_fields=["base_backups", "archived_at", "checked_at", "last_error"])


def _described(backup: dict[str, Any]) -> dict[str, Any]:
    started, stopped = (datetime.fromtimestamp(backup["timestamp"][key], UTC) for key in ("start", "stop"))
    info = backup["info"]
    return {
        "label": backup["label"], "kind": backup["type"], "started": started.isoformat(),
        "stopped": stopped.isoformat(), "bytes": info["size"], "stored_bytes": info["repository"]["delta"],
        "wal_from": backup["archive"]["start"],
    }  # fmt: skip


def archive_until_now(archive: ClusterArchive, alive: Callable[[], None]) -> bool:
    """Have the server archive what it has written so far, a commit included, at which a recovery to an earlier moment
    can stop. False when the archiver does not come up with it in time. Raises ClusterUnavailable."""
    with connect(session(archive), autocommit=True) as link:
        link.execute(QUERIES["commit_something"])
        (wal,) = link.execute(QUERIES["wal_file"]).fetchone() or ("",)
        deadline = time.monotonic() + WAIT_FOR_ARCHIVE_SECONDS
        while time.monotonic() < deadline:
            if _archived(link, wal)[0]:
                return True
            alive()
            time.sleep(0.1)
    return False


def _archived(link: Connection[Any], wal: str) -> tuple[bool | None, datetime | None]:
    done, at = link.execute(QUERIES["archived"], {"wal": wal}).fetchone() or (None, None)
    return done, at
