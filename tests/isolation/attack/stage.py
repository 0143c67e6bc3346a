"""Two tenants on a prepared cluster, and the sessions by which probes are played."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from provisioning import imports, pool, services
from provisioning.models import TemplateVersion
from tenants.models import Cluster
from tenants.schemas import compiler
from tests.isolation.arena import Server, cluster_at, group_of, in_database
from tests.isolation.attack.probe import Probe
from tests.support.fixtures import ACTOR, SOURCE, default_plan, fresh_slug

TEMPLATE = Path(__file__).parents[1] / "template"
BY: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}
# What refusals look like. Anything else is a probe that is broken, or a surprise: both are to be looked at.
REFUSALS = {
    "42501",  # insufficient privilege
    "28000", "28P01", "08P01", "08006",  # not let in (the last two: by PgBouncer)
    "3F000", "42P01", "42883", "42704",  # not found in a search_path without it
    "25001", "0A000", "2BP01", "57014", "55P03", "53300", "42P17", "22023", "42809", "55000",
}  # fmt: skip


NOT_GRANTED = {"01007", "01006"}  # nothing granted, nothing revoked


@dataclass
class Outcome:
    """What came of one attempt: whether it worked, and else the server's reason."""

    open: bool
    sqlstate: str = ""
    message: str = ""


@dataclass
class Stage:
    """Everything on it. `names` fill the braces of probes; `victim` and `attacker` are sessions of their logins."""

    server: Server
    level: str
    cluster: Cluster
    names: dict[str, str]
    attacker_dsn: str
    victim_dsn: str
    migrator_dsn: str
    superuser_url: str
    connection_limit: int
    victim: psycopg.Connection[Any]
    superuser: psycopg.Connection[Any]
    stack: ExitStack
    other: Cluster
    # Seconds that a bounded disturbance took, by its name.
    measured: dict[str, float] = field(default_factory=dict)
    _sessions: dict[str, psycopg.Connection[Any]] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """The text with names in their braces."""
        return text.format(**self.names)

    def new_name(self) -> str:
        """A name nobody else uses."""
        return f"cp_{secrets.token_hex(6)}"

    def session(self, dsn: str) -> psycopg.Connection[Any]:
        """A lasting autocommit session, made again when an act has ended it."""
        found = self._sessions.get(dsn)
        if found is None or found.closed or found.broken:
            found = psycopg.connect(dsn, autocommit=True, prepare_threshold=None, connect_timeout=10)
            self._sessions[dsn] = self.stack.enter_context(found)
            found.execute("SET statement_timeout = '5s'; SET lock_timeout = '1s'")
        return found

    def dsn_of(self, session: psycopg.Connection[Any]) -> str:
        """By which string a session was opened."""
        return next(dsn for dsn, one in self._sessions.items() if one is session)

    @contextmanager
    def attacker_again(self, session: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
        """One more session of the same login."""
        with psycopg.connect(self.dsn_of(session), autocommit=True, connect_timeout=10) as one:
            yield one

    @contextmanager
    def as_superuser(self) -> Iterator[psycopg.Connection[Any]]:
        """One more session of the superuser."""
        with psycopg.connect(self.superuser_url, autocommit=True) as one:
            yield one

    def in_background(self, session: psycopg.Connection[Any], statement: str) -> Future[Any]:
        """Have a session say something that will wait."""
        done: Future[Any] = Future()

        def work() -> None:
            try:
                done.set_result(session.execute(statement))
            except psycopg.Error as error:
                done.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return done


@contextmanager
def staged(server: Server, level: str, version: TemplateVersion) -> Iterator[Stage]:
    """A stage at a level; everything on it goes away at the end."""
    with cluster_at(server, level) as cluster, cluster_at(server, "baseline") as other, ExitStack() as stack:
        _extend(server, cluster)
        made = [_tenant(cluster, version, name) for name in ("attacker", "victim")]
        url = in_database(server.superuser_url, cluster.dbname)
        superuser = stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=None))
        a, b = (done.tenant.schema_name for done in made)
        _furnish(superuser, b)
        victim = stack.enter_context(psycopg.connect(made[1].connection.dsn, autocommit=True, prepare_threshold=None))
        operator = stack.enter_context(psycopg.connect(cluster.dsn().conninfo(), autocommit=True))
        names = {"a": a, "b": b, "db": cluster.dbname, "operator": cluster.username}
        names |= {"other": other.dbname, "other_group": group_of(other.dbname)}
        names |= {"pid": str(victim.info.backend_pid), "operator_pid": str(operator.info.backend_pid)}
        names |= {"slot": f"cp_{secrets.token_hex(6)}"} | _numbers(superuser, b)
        migrator = "" if level == "baseline" else _migrator(made[0].tenant)
        yield Stage(
            server, level, cluster, names, made[0].connection.dsn, made[1].connection.dsn, migrator, url,
            made[0].tenant.effective_limits()["connection_limit"], victim, superuser, stack, other,
        )  # fmt: skip


def attack_template(cluster: Cluster) -> TemplateVersion:
    """The template of both tenants: one of each thing that could be seen."""
    default_plan()
    name = f"attacked-{secrets.token_hex(4)}"
    return imports.import_template(name=name, origin=compiler.SqlDirectory(TEMPLATE), cluster=cluster, **BY)[0]


def _extend(server: Server, cluster: Cluster) -> None:
    with psycopg.connect(in_database(server.superuser_url, cluster.dbname), autocommit=True) as session:
        session.execute("CREATE TABLE public.registry AS SELECT 'a secret of the registry' AS secret")
        session.execute("ALTER TABLE public.registry OWNER TO " + cluster.username)


def _tenant(cluster: Cluster, version: TemplateVersion, name: str) -> Any:
    assert pool.fill_one(cluster, version, 1)
    return services.provision_tenant(
        name=name, slug=fresh_slug(name), template=version.template.name, cluster=cluster.name,
        **BY,
    )  # fmt: skip


def _migrator(tenant: Any) -> str:
    tenant.cluster.refresh_from_db()
    return services.open_migrator(tenant_id=tenant.pk, minutes=60, reason="attacks", **BY).connection.dsn


def _furnish(superuser: psycopg.Connection[Any], schema: str) -> None:
    """Rows, statistics and a large object of the victim's."""
    superuser.execute(
        f"INSERT INTO {schema}.customers (name) VALUES ('a secret of the victim'), ('another'), ('another')"
    )
    superuser.execute(f"ALTER SEQUENCE {schema}.customers_id_seq RESTART 100")
    superuser.execute(f"CREATE TABLE {schema}.only_of_the_victim (id int)")
    superuser.execute(f"ALTER TABLE {schema}.only_of_the_victim OWNER TO {schema}_owner")
    superuser.execute(f"ALTER TABLE {schema}.only_of_the_victim ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    superuser.execute(
        f"CREATE POLICY tenant_rw ON {schema}.only_of_the_victim TO {schema}_owner, {schema}_rw USING (true)"
    )
    superuser.execute(f"CREATE POLICY tenant_ro ON {schema}.only_of_the_victim FOR SELECT TO {schema}_ro USING (true)")
    superuser.execute(f"ANALYZE {schema}.customers")


def _numbers(superuser: psycopg.Connection[Any], schema: str) -> dict[str, str]:
    """Object identifiers that probes look things up by: knowing them is not part of the attack."""
    wanted = {
        "ns": f"'{schema}'::regnamespace",
        "table": f"'{schema}.customers'::regclass",
        "view": f"'{schema}.names'::regclass",
        "index": f"'{schema}.customers_pkey'::regclass",
        "parent": f"'{schema}.events'::regclass",
        "seq": f"'{schema}.customers_id_seq'::regclass",
        "fn": f"'{schema}.secret_of()'::regprocedure",
        "type": f"'{schema}.side'::regtype",
        "owner": f"'{schema}_owner'::regrole",
        "lo": "lo_from_bytea(0, 'a secret in a large object'::bytea)",
        "dboid": "(SELECT oid FROM pg_database WHERE datname = current_database())",
    }
    row = superuser.execute("SELECT " + ", ".join(f"({each})::oid::bigint" for each in wanted.values())).fetchone()
    return dict(zip(wanted, map(str, row or ()), strict=True))


def attempt(stage: Stage, probe: Probe, dsn: str) -> Outcome:
    """Play a probe as the login of `dsn`."""
    if probe.connect:
        return _connect(stage, probe, dsn)
    session = stage.session(dsn)
    return (
        _play(stage, probe, session)
        if probe.play
        else _say(stage, probe.sql, session, alone=probe.alone, undo=probe.undo)
    )


def control(stage: Stage, probe: Probe) -> Outcome:
    """The same by one who may."""
    if probe.connect:
        options = dict(probe.connect)
        url = stage.victim_dsn if "user" in options else stage.superuser_url
        options.pop("user", None)
        return _connecting(url, {key: stage.fill(value) for key, value in options.items()})
    session = stage.session(stage.victim_dsn if probe.may == "victim" else stage.superuser_url)
    text = (probe.control or probe.sql).replace("{a}", "{a}")
    return _say(stage, text, session, alone=probe.alone, undo=probe.undo)


def _connect(stage: Stage, probe: Probe, dsn: str) -> Outcome:
    return _connecting(dsn, {key: stage.fill(value) for key, value in probe.connect})


def _connecting(dsn: str, options: dict[str, str]) -> Outcome:
    try:
        psycopg.connect(dsn, connect_timeout=10, **options).close()  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        return Outcome(False, error.sqlstate or "28000", str(error).strip().splitlines()[-1])
    return Outcome(True)


def _play(stage: Stage, probe: Probe, session: psycopg.Connection[Any]) -> Outcome:
    assert probe.play is not None
    try:
        return Outcome(probe.play(stage, session))
    except psycopg.Error as error:
        return Outcome(False, error.sqlstate or "", str(error).splitlines()[0])


def _say(stage: Stage, text: str, session: psycopg.Connection[Any], *, alone: bool = False, undo: str = "") -> Outcome:
    try:
        if alone:
            session.execute(stage.fill(text))
        else:
            with session.transaction(force_rollback=True):
                return Outcome(_shows(session, stage.fill(text)))
    except psycopg.Error as error:
        return Outcome(False, error.sqlstate or "", str(error).splitlines()[0])
    for statement in filter(None, map(str.strip, undo.split(";"))):
        stage.superuser.execute(stage.fill(statement))
    return Outcome(True)


def _shows(session: psycopg.Connection[Any], text: str) -> bool:
    """Run it; where its last statement returns rows, whether the first value is there and true.

    A GRANT or REVOKE without the right to it is only warned of.
    """
    warnings: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        warnings.append(notice.sqlstate or "")

    session.add_notice_handler(hear)
    try:
        return _rows(session, text) and not NOT_GRANTED & set(warnings)
    finally:
        session.remove_notice_handler(hear)


def _rows(session: psycopg.Connection[Any], text: str) -> bool:
    cursor = session.cursor()
    if text.startswith("COPY") and text.endswith(("STDOUT", "STDIN")):
        with cursor.copy(text) as copy:
            if text.endswith("STDIN"):
                copy.write_row(["x"])
                return True
            return bool(b"".join(bytes(chunk) for chunk in copy))
    cursor.execute(text)
    while cursor.nextset():
        pass
    if cursor.description is None:
        return True
    row = cursor.fetchone()
    return bool(row and row[0])
