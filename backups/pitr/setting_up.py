"""A cluster's WAL archive: made once with a superuser's help, or told what that superuser has to do."""

from __future__ import annotations

import secrets as random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction
from psycopg import Connection, sql

from backups import schedule
from backups.models import ClusterArchive
from backups.pitr import archive as archives
from backups.pitr import programs
from backups.pitr.account import account_of
from backups.pitr.archive import LOGIN, QUERIES
from tenants import audit, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import ClusterError, Conflict, InvalidInput
from tenants.hardening.prepare import superuser_dsn
from tenants.models import Cluster
from tenants.postgres import Dsn, connect

# home + /scratch/0123456789abcdef/.s.PGSQL.5432.lock has to be a socket's path: 107 bytes.
MOST_HOME = 60
MOST_KEPT = 99
State = ClusterArchive.State


@dataclass(frozen=True)
class SetUp:
    """How far it came. `todo` is what a superuser has to do, as SQL; `restart` says that the server has to be started
    anew before it archives."""

    archive: ClusterArchive
    todo: tuple[str, ...]
    restart: bool


@dataclass(frozen=True)
class Server:
    """What a server says of itself."""

    data: str
    sockets: str
    port: int
    mode: str
    command: str
    library: str | None
    wal_level: str
    whole_pages: bool

    @property
    def socket(self) -> str:
        """The directory of its first socket."""
        return self.sockets.split(",")[0].strip().strip('"')


def set_up_archive(
    *,
    cluster: Cluster,
    directory: str,
    repository: str = "",
    superuser_url: str = "",
    actor: Actor,
    source: Source,
    **options: Any,
) -> SetUp:
    """Have a cluster's server archive its WAL into `repository` (in `directory`, if left out), of which pgBackRest's
    configuration, logs and scratch instances take part. May be repeated: after a restart, or with other `options`
    (`keep_full`, `full_schedule`, `diff_schedule`).

    `superuser_url` is used for this call alone. Raises PitrUnavailable, InvalidInput, Conflict for a server that
    archives in another way, Refused with what pgBackRest says.
    """
    if cluster.host_cluster is not None:
        raise Conflict("A tenant's own database is archived with its server.", hint=f"Name {cluster.server.name}.")
    program = programs.pgbackrest()
    dsn = superuser_dsn(superuser_url, cluster) if superuser_url else cluster.dsn()
    with connect(dsn, autocommit=True) as link:
        _refuse_another_server(link, cluster.dsn())
        server = Server(*(link.execute(QUERIES["server"]).fetchone() or ()))
        row = _described(cluster, server, directory, repository, options)
        command = archives.archive_command(row, program)
        if server.library or (server.mode != "off" and server.command not in ("", "(disabled)", command)):
            raise Conflict("The server archives its WAL already, in a way of its own.", code="archives_already")
        archives.write_files(row, program)
        todo = statements(link, row, server, command)
        if superuser_url:
            for statement in todo:
                link.execute(statement)
            todo = []
    row.state = State.RESTART_NEEDED
    if not todo or _has_login(row):
        archives.call(row, "stanza-create")
        todo = [] if server.command == command and server.whole_pages else todo
        if server.mode != "off" and not todo:
            archives.call(row, "check")
            row.state = State.ACTIVE
    with transaction.atomic():
        row.save()
        audit.record("archive.set_up", actor=actor, source=source, target=row, after=_told(row))
    return SetUp(row, tuple(todo), server.mode == "off")


def _described(
    cluster: Cluster, server: Server, directory: str, repository: str, options: dict[str, Any]
) -> ClusterArchive:
    home = _absolute(directory, "directory")
    if len(home) > MOST_HOME or "'" in home or '"' in home or "\n" in home:
        raise InvalidInput(f"The directory's path has at most {MOST_HOME} characters and no quotes.", field="directory")
    for name in ("full_schedule", "diff_schedule"):
        if name in options:
            schedule.parse(options[name])
    if not 1 <= options.get("keep_full", 1) <= MOST_KEPT:
        raise InvalidInput(f"1 to {MOST_KEPT} full base backups are kept.", field="keep_full")
    row = ClusterArchive.objects.filter(cluster=cluster).first() or ClusterArchive(
        cluster=cluster, stanza=cluster.name,
        secret=secrets.encrypt(random.token_urlsafe(48)), password=secrets.encrypt(random.token_urlsafe(32)),
    )  # fmt: skip
    data = Path(server.data)
    row.home, row.repository = home, _absolute(repository or f"{home}/repository", "repository")
    row.data_directory, row.socket_directory, row.port = server.data, server.socket, server.port
    row.os_user, row.programs = account_of(data).name, str(programs.programs_of(data))
    for name, value in options.items():
        setattr(row, name, value)
    return row


def _absolute(path: str, field: str) -> str:
    if not path.startswith("/") or "\0" in path or "\n" in path or Path(path) != Path(path).resolve():
        raise InvalidInput("This must be an absolute path without links in it.", field=field)
    return str(Path(path))


def _refuse_another_server(link: Connection[Any], own: Dsn) -> None:
    with connect(own, autocommit=True) as other:
        if link.execute(QUERIES["identity"]).fetchone() != other.execute(QUERIES["identity"]).fetchone():
            raise Conflict("The superuser's connection string leads to another server than the cluster's.")


def statements(link: Connection[Any], row: ClusterArchive, server: Server, command: str) -> list[str]:
    """What a superuser has to run in the cluster's database."""
    (there,) = link.execute(QUERIES["login"]).fetchone() or (0,)
    password = secrets.decrypt(row.password).encode()
    verifier = link.pgconn.encrypt_password(password, LOGIN.encode(), b"scram-sha-256").decode()
    login, database = sql.Identifier(LOGIN), sql.Identifier(row.cluster.dsn().dbname)
    shape = f"{'ALTER' if there else 'CREATE'} ROLE {{}} LOGIN CONNECTION LIMIT 10 PASSWORD {{}}"
    settings = {"archive_mode": "on", "archive_command": command,
                "archive_timeout": f"{archives.ARCHIVE_TIMEOUT_SECONDS}s"}  # fmt: skip
    if not server.whole_pages:
        # Files of other databases are restored as zeros: WAL must bring every page whole when it is first touched.
        settings["full_page_writes"] = "on"
    if server.wal_level == "minimal":
        settings["wal_level"] = "replica"
    made = [
        sql.SQL(shape).format(login, sql.Literal(verifier)),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, login),
        sql.SQL(QUERIES["rights"]),
        *(
            sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in settings.items()
        ),
        sql.SQL("SELECT pg_catalog.pg_reload_conf()"),
    ]
    return [each.as_string(link) for each in made]


def _has_login(row: ClusterArchive) -> bool:
    """Whether a superuser has made the login meanwhile."""
    try:
        with connect(archives.session(row), autocommit=True):
            return True
    except ClusterError:
        return False


def _told(row: ClusterArchive) -> dict[str, Any]:
    names = ("state", "home", "repository", "full_schedule", "diff_schedule", "keep_full")
    return {"cluster": row.cluster.name, **{name: str(getattr(row, name)) for name in names}}
