"""Closing a cluster up to a level, once, with a superuser's session that is given for that and never kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

from tenants import audit, clusters, patches
from tenants.actors import Actor, Source
from tenants.exceptions import ClusterUnusable, InvalidInput
from tenants.hardening import levels, logins, template
from tenants.hardening.levels import QUERIES, STAYS_OPEN, Level, OpenItem
from tenants.hardening.recorder import Recorder
from tenants.hardening.statistics import ensure_statements
from tenants.models import Cluster
from tenants.postgres import Dsn, connect

GUARD = Path(__file__).with_name("guard.sql")
TIMEOUT_MS = 120_000


@dataclass(frozen=True)
class Prepared:
    """What preparing came to: the level before, wanted and reached; the statements; what the server refused, and why;
    what is still open; settings of the server that should be other than they are."""

    cluster: Cluster
    dry_run: bool
    superuser: bool
    before: Level
    wanted: Level
    level: Level
    statements: list[str]
    refused: list[tuple[str, str]]
    open: list[dict[str, Any]]
    stays_open: tuple[str, ...]
    advice: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


def superuser_dsn(url: str, cluster: Cluster) -> Dsn:
    """From what an operator gives (a URL or libpq's key=value form): the cluster's database as that login.

    Host, port and database not given are the cluster's. Raises InvalidInput, without repeating the text.
    """
    try:
        given = conninfo_to_dict(url)
    except Exception as error:
        raise InvalidInput("This is not a connection string.", field="superuser_url") from error
    own = cluster.dsn()
    if not given.get("user"):
        raise InvalidInput("The connection string names no user.", field="superuser_url")
    return Dsn(
        host=str(given.get("host") or own.host),
        port=int(str(given.get("port") or own.port)),
        dbname=own.dbname,
        user=str(given["user"]),
        password=str(given.get("password") or ""),
        sslmode=str(given.get("sslmode") or own.sslmode),
    )


def prepare_cluster(
    *, cluster: Cluster, level: str, superuser_url: str = "", dry_run: bool = False, actor: Actor, source: Source
) -> Prepared:
    """Close a cluster up to `level`, make the control plane's own logins, and note the level that was reached.

    Idempotent. `superuser_url` is used for this call alone; without it the cluster's own login does what it may, and
    the answer says what it may not. With `dry_run` all is done and rolled back. Raises InvalidInput for an unknown
    level, ClusterError when the server cannot be reached or is another one.
    """
    wanted = _level(level)
    if cluster.host_cluster is not None:
        raise InvalidInput(f"It is prepared with its host: prepare {cluster.host_cluster}.", field="cluster")
    own = cluster.dsn()
    dsn = superuser_dsn(superuser_url, cluster) if superuser_url else own
    clusters.prepare_functions(dsn, owner=own.user)
    _refuse_another_server(own, dsn)
    passwords = _passwords(cluster, own.dbname, dry_run=dry_run)
    with connect(dsn, statement_timeout_ms=TIMEOUT_MS, application_name="controlplane prepare") as connection:
        superuser = connection.execute(QUERIES["is_superuser"]).fetchone() == (True,)
        to = Recorder(connection, superuser)
        before = levels.reached(levels.open_items(connection))
        counted = ensure_statements(to)
        _close(to, own, wanted)
        made = logins.ensure_logins(to, own, passwords) if superuser else []
        items = levels.open_items(connection)
        advice = _settings(to, wanted, dry_run=dry_run) + counted + _patch(connection)
        if dry_run:
            connection.rollback()
    if superuser and not dry_run and wanted != Level.BASELINE:
        _apply_settings(dsn)
    if not dry_run:
        _prepare_own_databases(cluster, dsn, wanted, passwords, superuser=superuser)
    done = Prepared(
        cluster, dry_run, superuser, before, wanted, levels.reached(items), to.statements, to.refused,
        levels.summary(items), STAYS_OPEN[levels.reached(items)], advice, made,
    )  # fmt: skip
    if not dry_run:
        _note(done, items, actor=actor, source=source)
    return done


def _prepare_own_databases(
    cluster: Cluster, dsn: Dsn, wanted: Level, passwords: dict[str, tuple[str, str]], *, superuser: bool
) -> None:
    """The same for the databases of tenants' own on this server, and for the template of those to come."""
    if superuser:
        template.ensure(cluster, dsn)
    own = cluster.dsn()
    names = [own.dbname for own in cluster.databases.all()] + ([template.name_of(cluster)] if superuser else [])
    for dbname in names:
        at, to_open = dsn.replace(dbname=dbname), own.replace(dbname=dbname)
        clusters.prepare_functions(at, owner=own.user)
        with connect(at, statement_timeout_ms=TIMEOUT_MS, application_name="controlplane prepare") as connection:
            to = Recorder(connection, superuser)
            _close(to, to_open, wanted, is_template=dbname == template.name_of(cluster))
            if superuser:
                logins.grant_functions(to, {purpose: name for purpose, (name, _) in passwords.items()})
            items = levels.open_items(connection)
        Cluster.objects.filter(host_cluster=cluster, dbname=dbname).update(
            isolation_level=levels.reached(items), isolation_open=levels.summary(items), isolation_wanted=wanted
        )


def _level(text: str) -> Level:
    if text not in levels.ORDER[1:]:
        raise InvalidInput(f"A level is one of {', '.join(levels.ORDER[1:])}.", field="level")
    return Level(text)


def _refuse_another_server(own: Dsn, other: Dsn) -> None:
    if own == other:
        return
    identity = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
    with connect(own) as first, connect(other) as second:
        if first.execute(identity).fetchone() != second.execute(identity).fetchone():
            raise ClusterUnusable("The superuser's connection string leads to another server than the cluster's.")


def _passwords(cluster: Cluster, dbname: str, *, dry_run: bool) -> dict[str, tuple[str, str]]:
    if dry_run:
        return {purpose: (logins.login_name(purpose, dbname), "of a dry run") for purpose in logins.RIGHTS}
    return logins.ensure_rows(cluster, dbname)


def _close(to: Recorder, own: Dsn, wanted: Level, *, is_template: bool = False) -> None:
    """The control plane's own login into its group first, so that it loses nothing; then what is open, by level."""
    operator = sql.Identifier(own.user)
    if to.connection.execute(QUERIES["is_member"], {"group": "cp_operator", "role": own.user}).fetchone() != (True,):
        to.run(sql.SQL("GRANT cp_operator TO {}").format(operator))
    database = sql.Identifier(own.dbname)
    if not is_template:  # nobody connects to that one: a database to which somebody is connected cannot be copied
        to.run(sql.SQL("GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {} TO {}").format(database, operator))
        to.run("SELECT cp.open_database()")
    owners = [row[0] for row in to.connection.execute(QUERIES["owners_to_join"])]
    if owners:
        names = sql.SQL(", ").join(map(sql.Identifier, owners))
        to.run(sql.SQL("GRANT cp_owners TO {}").format(names))
    if to.superuser and wanted != Level.BASELINE:
        to.run(GUARD.read_text(encoding="utf-8"))
        to.run(sql.SQL("GRANT EXECUTE ON FUNCTION cp.guard_findings(text) TO {}").format(operator))
    for item in levels.open_items(to.connection):
        if (item.kind, item.name) == ("database", "postgres") and item.level in levels.up_to(wanted):
            to.run(sql.SQL("GRANT CONNECT ON DATABASE postgres TO {}").format(operator))  # databases are made from it
        if item.level in levels.up_to(wanted) and item.statement:
            to.run(item.statement)


def _settings(to: Recorder, wanted: Level, *, dry_run: bool) -> list[str]:
    """What is amiss with the server's settings, and (on a dry run) the statements that would mend it."""
    rows = to.connection.execute(QUERIES["server_settings"]).fetchall()
    if dry_run and to.superuser and wanted != Level.BASELINE:
        to.statements += [
            f"ALTER SYSTEM SET {name} = '{advised}';" for name, _, advised, restart in rows if not restart
        ]
    mended = to.superuser and wanted != Level.BASELINE
    return [
        f"The server's {name} is {present}; advised is {advised}{' (needs a restart)' if restart else ''}."
        for name, present, advised, restart in rows
        if restart or not mended
    ]


def _apply_settings(dsn: Dsn) -> None:
    with connect(dsn, autocommit=True) as connection:
        rows = connection.execute(QUERIES["server_settings"]).fetchall()
        for name, _, advised, restart in rows:
            if not restart:
                statement = sql.SQL("ALTER SYSTEM SET {} = {}")
                connection.execute(statement.format(sql.Identifier(name), sql.Literal(advised)))
        if rows:
            connection.execute("SELECT pg_reload_conf()")


def _patch(connection: Connection[Any]) -> list[str]:
    found = patches.warning(connection.info.server_version)
    return [found] if found else []


def _note(done: Prepared, items: list[OpenItem], *, actor: Actor, source: Source) -> None:
    cluster = done.cluster
    was = {"level": cluster.isolation_level, "wanted": cluster.isolation_wanted}
    cluster.isolation_level, cluster.isolation_open = done.level, done.open
    cluster.isolation_wanted = done.wanted
    with transaction.atomic():
        logins.note_logins(cluster, done.logins)
        cluster.save(update_fields=["isolation_level", "isolation_open", "isolation_wanted", "provisioner"])
        audit.record(
            "cluster.prepare", actor=actor, source=source, target=cluster, before=was,
            after={
                "level": done.level, "wanted": done.wanted, "superuser": done.superuser,
                "statements": len(done.statements), "refused": len(done.refused), "logins": done.logins,
            },
        )  # fmt: skip
