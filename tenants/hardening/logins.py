"""The control plane's own logins of low privilege: each can do one job, and nothing that runs day to day is superuser.

Roles belong to the whole server, so each database's logins have names of their own, made from the database's name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from tenants import secrets
from tenants.hardening.levels import QUERIES
from tenants.hardening.recorder import Recorder
from tenants.models import Cluster, ClusterLogin
from tenants.postgres import Dsn

Purpose = ClusterLogin.Purpose
ATTRIBUTES = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"


@dataclass(frozen=True)
class Rights:
    """What a login is for: groups it is a member of, functions of the schema cp it may call (by the beginning of their
    names), settings, and how many connections it gets."""

    groups: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    attributes: str = ""
    connections: int = 5
    may_create: bool = False


READ_ONLY = (("default_transaction_read_only", "on"),)
# Making a tenant takes hundreds of statements that nobody sends again: counted, they push tenants' own out of the
# statistics, and each of them costs a quarter more.
UNCOUNTED = (("pg_stat_statements.track_utility", "off"),)

RIGHTS: dict[str, Rights] = {
    # Makes schemas and roles, by the functions of prepare.sql alone: it has no CREATEROLE.
    Purpose.PROVISIONER: Rights(
        ("cp_operator", "pg_signal_backend"),
        (
            "version",
            "guard_findings",
            "require_tenant",
            "create_roles",
            "take_owner",
            "release_owner",
            "set_",
            "open_",
            "close_",
            "drop_",
            "switch_",
        ),
        UNCOUNTED,
        connections=100,  # as many processes keep up to eight each
        may_create=True,
    ),
    # Reads every row of every tenant, as pg_dump must, and writes nothing. Row-level security is forced on all tables,
    # hence BYPASSRLS, which only a superuser can give.
    Purpose.BACKUP: Rights(("cp_operator", "pg_read_all_data"), (), READ_ONLY, "BYPASSRLS", 20),
    # Sees statistics of all, and no tenant's rows.
    Purpose.MONITOR: Rights(("cp_operator", "pg_monitor"), ("log_", "verifier_", "file_"), READ_ONLY, "", 10),
    # Ends sessions of tenants' logins, by functions that end no others.
    Purpose.REAPER: Rights(("cp_operator", "pg_read_all_stats"), ("reap",), (), "", 5),
    # Asks for one tenant's login at a time, by a function that shows no others.
    Purpose.POOLER: Rights((), ("pool", "pgbouncer"), (), "", 5),
}


def login_name(purpose: str, dbname: str) -> str:
    """The name of a database's login, e.g. `cp_backup_1f3c9a5e`; the same whenever it is asked."""
    return f"cp_{purpose}_{hashlib.sha256(dbname.encode()).hexdigest()[:8]}"


def ensure_rows(cluster: Cluster, dbname: str) -> dict[str, tuple[str, str]]:
    """Name and password for each purpose, written down before anything of it exists on the cluster."""
    found = {}
    for purpose in Purpose.values:
        row, _ = ClusterLogin.objects.get_or_create(
            cluster=cluster,
            purpose=purpose,
            defaults={
                "username": login_name(purpose, dbname),
                "secret": secrets.encrypt(secrets.new_password()),
            },
        )
        found[purpose] = (row.username, secrets.decrypt(row.secret))
    return found


def note_logins(cluster: Cluster, made: list[str]) -> None:
    """Write down which are complete: from now on they are used."""
    for row in ClusterLogin.objects.filter(cluster=cluster, purpose__in=made):
        row.ready = True
        row.save(update_fields=["ready"])
        if row.purpose == Purpose.PROVISIONER:
            cluster.provisioner = row


def ensure_logins(to: Recorder, dsn: Dsn, passwords: dict[str, tuple[str, str]]) -> list[str]:
    """Make or mend each login on the cluster. Returns the purposes of those that are complete."""
    return [purpose for purpose, (name, password) in passwords.items() if _ensure(to, dsn, purpose, name, password)]


def _ensure(to: Recorder, dsn: Dsn, purpose: str, name: str, password: str) -> bool:
    rights, role = RIGHTS[purpose], sql.Identifier(name)
    before = len(to.refused)
    row = to.connection.execute("SELECT to_regrole(%s) IS NULL", [name]).fetchone()
    if row == (True,) and not to.run(sql.SQL("CREATE ROLE {} NOLOGIN").format(role)):
        return False
    verifier = to.connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    attributes = f"{ATTRIBUTES} {rights.attributes}".strip() if to.superuser else rights.attributes
    shape = f"ALTER ROLE {{}} LOGIN {attributes} CONNECTION LIMIT {rights.connections} PASSWORD {{}}"
    changed = sql.SQL(shape).format(role, sql.Literal(verifier))
    to.run(changed, shown=changed.as_string(to.connection).replace(verifier, "SCRAM-SHA-256$…"))
    _grant(to, dsn, rights, name)
    return len(to.refused) == before


def _grant(to: Recorder, dsn: Dsn, rights: Rights, name: str) -> None:
    role, database = sql.Identifier(name), sql.Identifier(dsn.dbname)
    privileges = sql.SQL("CONNECT, CREATE" if rights.may_create else "CONNECT")
    to.run(sql.SQL("GRANT {} ON DATABASE {} TO {}").format(privileges, database, role))
    for group in rights.groups:
        if to.connection.execute(QUERIES["is_member"], {"group": group, "role": name}).fetchone() != (True,):
            to.run(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), role))
    _grant_functions(to, rights, name)
    for setting, value in rights.settings:
        to.run(sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(setting), sql.Literal(value)))


def grant_functions(to: Recorder, names: dict[str, str]) -> None:
    """What these logins, by purpose, may call in one more database of their server."""
    for purpose, name in names.items():
        _grant_functions(to, RIGHTS[purpose], name)


def _grant_functions(to: Recorder, rights: Rights, name: str) -> None:
    role = sql.Identifier(name)
    for prefix in rights.functions:
        signatures = [row[0] for row in to.connection.execute(QUERIES["login_functions"], {"prefix": prefix})]
        if signatures:
            to.run(sql.SQL("GRANT USAGE ON SCHEMA cp TO {}").format(role))
            functions = sql.SQL(", ".join(signatures))  # the server's own, quoted by it
            to.run(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(functions, role))


def drop_logins(connection: Any, cluster: Cluster) -> None:
    """Take a database's logins away, on the cluster and here; for a cluster that is given up."""
    for row in ClusterLogin.objects.filter(cluster=cluster):
        role = sql.Identifier(row.username)
        if connection.execute("SELECT to_regrole(%s) IS NOT NULL", [row.username]).fetchone() == (True,):
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
        row.delete()
