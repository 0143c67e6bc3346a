"""Registering clusters, and reading what they are."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import psycopg
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from psycopg import sql
from psycopg.rows import dict_row

from tenants import audit, secrets
from tenants.actors import BEAT, SYSTEM, Actor, Source
from tenants.exceptions import ClusterError, ClusterUnusable, Conflict, ControlPlaneError, InvalidInput
from tenants.hardening.levels import Level, open_items, reached, summary
from tenants.models import Cluster, Tenant
from tenants.postgres import Dsn, connect, load_queries

log = logging.getLogger(__name__)
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
MINIMUM_VERSION = 150_000
TENANTS_GROUP = "cp_tenants"
PREPARE = Path(__file__).with_name("prepare.sql")
# What only a superuser can install, after prepare.sql.
FOR_ONE_LOGIN = (Path(__file__).parent / "pooling" / "pooler.sql",)

# What the login must be able to do, and what an administrator grants when it cannot.
NEEDS = {
    "can_create_roles": "ALTER ROLE {user} CREATEROLE",
    "can_create_schemas": "GRANT CREATE ON DATABASE {dbname} TO {user}",
    "can_end_sessions": "GRANT pg_signal_backend TO {user}",
}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
NOTED = ("server_version_num", "extensions", "isolation_level", "isolation_open", "checked_at", "last_error")
EDITABLE = (
    "description", "state", "public_host", "public_port", "pool_target", "max_parallel", "log_path", "dedicated",
)  # fmt: skip


def inspect(dsn: Dsn) -> dict[str, Any]:
    """What the server behind `dsn` is: version, abilities of our login, extensions.

    Raises ClusterUnavailable when it cannot be reached, ClusterUnusable with the reason when it cannot hold tenants.
    """
    with connect(dsn, autocommit=True, application_name="controlplane inspect") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        facts = cursor.execute(QUERIES["inspect_server"]).fetchone() or {}
        extensions = cursor.execute(QUERIES["list_extensions"]).fetchall()
        facts["open_items"] = open_items(connection)
    facts["extensions"] = {row["name"]: {"version": row["version"], "schema": row["schema"]} for row in extensions}
    if facts["version_num"] < MINIMUM_VERSION:
        raise ClusterUnusable(f"PostgreSQL {facts['version_num'] // 10000} is too old.", hint="Use 15 or newer.")
    if facts["in_recovery"]:
        raise ClusterUnusable("This server is a replica.", hint="Register its primary.")
    for need, remedy in NEEDS.items():
        if not facts[need]:
            statement = remedy.format(user=dsn.user, dbname=dsn.dbname)
            raise ClusterUnusable(f"The login {dsn.user} lacks a right ({need}).", hint=f"As superuser: {statement};")
    return facts


def prepare(dsn: Dsn) -> None:
    """Make what all tenants of a database share: the groups, the schema for extensions, and the functions by which
    roles are made and changed (unless a superuser has installed them). Idempotent.

    Done once per database and never per tenant, since parallel GRANTs on shared objects fail. Raises ClusterUnusable
    when somebody else's functions are there in another version.
    """
    prepare_functions(dsn, owner=dsn.user)
    group = sql.Identifier(TENANTS_GROUP)
    with connect(dsn) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS extensions")
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA extensions TO {}").format(group))
        connection.execute(QUERIES["open_database"])
        for item in open_items(connection):
            if item.level == Level.BASELINE and item.statement:
                connection.execute(item.statement.encode())
        if connection.execute("SELECT to_regrole('cp_pooler') IS NOT NULL").fetchone() == (True,):
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO cp_pooler").format(sql.Identifier(dsn.dbname)))


def guests_of(dbname: str) -> str:
    """The group of those with databases of their own on the server of this one (see `cp.join_host`)."""
    return f"cp_guests_{hashlib.sha256(dbname.encode()).hexdigest()[:12]}"


def prepare_functions(dsn: Dsn, *, owner: str) -> None:
    """Install the functions of prepare.sql as `dsn`'s login; when that is not `owner`, the control plane's, they become
    that login's (a superuser's) and `owner` may call them. Raises ClusterUnusable."""
    with connect(dsn) as connection:
        if dsn.user == owner:
            _install_functions(connection)
            return
        connection.execute(PREPARE.read_bytes())
        for (statement,) in connection.execute(QUERIES["take_functions"], {"owner": owner}).fetchall():
            connection.execute(statement)
        for path in FOR_ONE_LOGIN:
            connection.execute(path.read_bytes())


def _install_functions(connection: psycopg.Connection[Any]) -> None:
    wanted = int(re.findall(r"AS 'SELECT (\d+)'", PREPARE.read_text(encoding="utf-8"))[0])
    there = connection.execute(QUERIES["functions"]).fetchone()
    if there is not None and there[0] and connection.execute("SELECT cp.version()").fetchone() == (wanted,):
        return
    try:
        connection.execute(PREPARE.read_bytes())
    except psycopg.errors.InsufficientPrivilege as error:
        raise ClusterUnusable(
            "The functions in the schema cp are somebody else's and not of this version.",
            hint=f"As superuser: run {PREPARE.name} in this database, and grant EXECUTE on them to our login.",
        ) from error


def _note(cluster: Cluster, facts: dict[str, Any]) -> None:
    cluster.server_version_num = facts["version_num"]
    cluster.extensions = facts["extensions"]
    cluster.isolation_level, cluster.isolation_open = reached(facts["open_items"]), summary(facts["open_items"])
    cluster.checked_at = timezone.now()
    cluster.last_error = ""


def register_cluster(
    *,
    name: str,
    host: str,
    port: int = 5432,
    dbname: str,
    username: str,
    password: str,
    sslmode: str = "prefer",
    actor: Actor,
    source: Source,
    **options: Any,
) -> Cluster:
    """Add a cluster after connecting to it, reading its version and extensions and preparing it.

    Raises InvalidInput, ClusterUnavailable or ClusterUnusable with the reason; Conflict when the name or the
    database is registered already.
    """
    if sslmode not in SSL_MODES:
        raise InvalidInput(f"sslmode is one of {', '.join(SSL_MODES)}.", field="sslmode")
    dsn = Dsn(host, port, dbname, username, password, sslmode)
    cluster = Cluster(name=name, host=host, port=port, dbname=dbname, username=username, sslmode=sslmode, **options)
    cluster.secret = secrets.encrypt(password)
    _check(cluster)
    facts = inspect(dsn)
    _refuse_known_database(dsn, facts)
    prepare(dsn)
    _note(cluster, inspect(dsn))  # preparing has closed something
    try:
        with transaction.atomic():
            cluster.save(force_insert=True)
            audit.record(
                "cluster.register",
                actor=actor,
                source=source,
                target=cluster,
                after={"host": host, "port": port, "database": dbname, "version": cluster.server_version},
            )
    except IntegrityError as error:
        raise Conflict(f"A cluster named {name} exists already.", code="name_taken") from error
    return cluster


def _check(cluster: Cluster) -> None:
    try:
        cluster.clean_fields(exclude=["secret"])
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(messages[0], field=field) from error


def _refuse_known_database(dsn: Dsn, facts: dict[str, Any]) -> None:
    for other in Cluster.objects.filter(host_cluster=None):
        try:
            theirs = inspect(other.dsn())
        except ControlPlaneError:
            continue
        if (theirs["system_identifier"], theirs["dbname"]) == (facts["system_identifier"], dsn.dbname):
            raise Conflict(f"This database is registered already, as '{other.name}'.", code="cluster_known")


def ensure_default_cluster(*, actor: Actor, source: Source, **options: Any) -> Cluster:
    """The control plane's own database as the default cluster, made on the first call and read again on each."""
    with transaction.atomic():
        cluster, created = Cluster.objects.get_or_create(is_default=True, defaults={"name": "default", **options})
        if created:
            audit.record("cluster.register", actor=actor, source=source, target=cluster)
    prepare(cluster.dsn())
    return check_cluster(cluster)


def check_cluster(cluster: Cluster) -> Cluster:
    """Read a cluster's version, extensions and isolation level again and note them, or the reason why that failed."""
    before = cluster.isolation_level
    try:
        _note(cluster, inspect(cluster.work_dsn()))
    except ControlPlaneError as error:
        cluster.last_error, cluster.checked_at = str(error)[:500], timezone.now()
        cluster.save(update_fields=["last_error", "checked_at"])
        raise
    with transaction.atomic():
        cluster.save(update_fields=NOTED)
        if before and before != cluster.isolation_level:  # by a restore, an upgrade, or somebody's GRANT
            audit.record(
                "cluster.level_changed",
                actor=SYSTEM,
                source=BEAT,
                target=cluster,
                before={"level": before},
                after={"level": cluster.isolation_level},
            )
    return cluster


def check_all() -> int:
    """Check each cluster; a failure is noted on its row. Returns how many are well."""
    well = 0
    for cluster in Cluster.objects.all():
        try:
            check_cluster(cluster)
            well += 1
        except ClusterError as error:
            log.warning("cluster.check_failed", extra={"cluster": cluster.name, "error": error.code})
    return well


def _refuse_inhabited(cluster: Cluster) -> None:
    """A cluster is reserved for one tenant, or opened to all, while nobody lives on it."""
    if cluster.is_default or cluster.databases.exists() or cluster.dedicated_to_id:
        raise Conflict(f"{cluster} cannot be reserved for one tenant, or opened to all, now.", code="cluster_inhabited")
    if cluster.tenants.exclude(state__in=[Tenant.State.PURGED, Tenant.State.FAILED]).exists():
        raise Conflict(
            f"{cluster} has tenants.", code="cluster_inhabited", hint="Register another one with --dedicated."
        )


def update_cluster(*, cluster: Cluster, changes: dict[str, Any], actor: Actor, source: Source) -> Cluster:
    """Change what may be changed of a registered cluster. Raises InvalidInput for anything else, and Conflict for a
    tenant's own database, which follows its host, and for reserving a cluster that somebody lives on."""
    if unknown := set(changes) - set(EDITABLE):
        raise InvalidInput(f"{min(unknown)} of a cluster cannot be changed.", field=min(unknown))
    if cluster.host_cluster is not None:
        raise Conflict(f"A tenant's own database is as its host: change {cluster.host_cluster}.", code="follows_host")
    before = {field: getattr(cluster, field) for field in changes}
    if before.get("dedicated", changes.get("dedicated")) != changes.get("dedicated"):
        _refuse_inhabited(cluster)
    for field, value in changes.items():
        setattr(cluster, field, value)
    _check(cluster)
    with transaction.atomic():
        cluster.save(update_fields=list(changes))
        audit.record("cluster.update", actor=actor, source=source, target=cluster, before=before, after=dict(changes))
    return cluster
