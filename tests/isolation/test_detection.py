"""Attempts of tenants at what is not theirs become events, within seconds and without anybody's values."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from provisioning import services, slots
from provisioning.isolation.check import check_isolation
from tenants.detection import attempts, collect
from tenants.detection.collect import read_log
from tenants.detection.watch import PURPOSE, watch_all
from tenants.models import AuditEvent, Cluster, IsolationAttempt, LogWatch
from tenants.postgres import connect
from tests.isolation.arena import SERVERS, Server, cluster_at, superuser
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug
from tests.support.processes import wait_for

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}
SECRET = "a literal that nobody else may read"


class Arena:
    """A prepared cluster with two tenants, and how its log is read."""

    def __init__(self, server: Server, cluster: Cluster, template: Any) -> None:
        self.server, self.cluster, self.template = server, cluster, template
        self.attacker, self.victim = self.tenant(), self.tenant()

    def tenant(self) -> Any:
        assert slots.build(slots.reserve(self.cluster, self.template))
        return services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=self.cluster.name, template=self.template.template.name, **WHO
        )

    def read(self) -> int:
        with connect(self.cluster.dsn(PURPOSE), autocommit=True) as connection:
            return read_log(self.cluster, connection)

    def fill_log(self) -> None:
        """More than one reading takes, as other tests' statements do in a whole run."""
        with superuser(self.server, self.cluster.dbname) as session:
            write = "DO $$ BEGIN FOR i IN 1..{} LOOP RAISE LOG '%', repeat('x', {}); END LOOP; END $$"
            session.execute(write.format(collect.CHUNKS_AT_ONCE + 1, collect.CHUNK_BYTES))

    def settle(self) -> None:
        """Read up to the end, so that what others left is not taken for ours."""
        time.sleep(0.3)
        self.read()

    def tries(self, statement: str, made: Any = None) -> None:
        """The attacker runs this and is refused."""
        dsn = (made or self.attacker).connection.dsn
        with psycopg.connect(dsn, autocommit=True) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(statement)

    def events(self, made: Any = None) -> list[AuditEvent]:
        tenant = (made or self.attacker).tenant
        return list(AuditEvent.objects.filter(action="isolation.attempt", tenant_id=tenant.pk).order_by("id"))


@pytest.fixture(scope="module", params=[18, 15])
def arena(request: pytest.FixtureRequest, template: Any) -> Iterator[Arena]:
    server = SERVERS[request.param]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        made = Arena(server, cluster, template)
        made.read()
        yield made


def test_an_attempt_is_an_event_within_ten_seconds(arena: Arena, api_client: Any) -> None:
    arena.settle()
    end = threading.Event()
    reading = threading.Thread(target=watch_all, args=(end, lambda: [arena.cluster]))
    reading.start()
    try:
        wait_for(lambda: LogWatch.objects.get(cluster=arena.cluster).is_watched, what="the first reading")
        began = time.monotonic()
        arena.tries(f"SELECT '{SECRET}' FROM {arena.victim.tenant.schema_name}.customers")
        wait_for(arena.events, seconds=10, what="the event")
        assert time.monotonic() - began < 10
    finally:
        end.set()
        reading.join(10)
    (event,) = arena.events()
    assert (event.outcome, event.reason, event.channel) == ("denied", "foreign_object", "detector")
    assert event.actor_label == arena.attacker.connection.user
    after = event.after
    assert after["attacker"] == arena.attacker.tenant.slug
    assert after["target"] == arena.victim.tenant.slug
    assert after["target_name"] == arena.victim.tenant.schema_name
    assert (after["statement"], after["address"]) == ("SELECT", "127.0.0.1")
    assert after["at"]
    assert SECRET not in str(vars(event))
    (row,) = IsolationAttempt.objects.filter(attacker=arena.attacker.tenant)
    assert SECRET not in str(vars(row))
    shown = api_client("clusters:read").get(f"isolation-attempts?attacker={arena.attacker.tenant.pk}").json()
    assert [(one["kind"], one["target"], one["count"]) for one in shown["results"]] == [
        ("foreign_object", str(arena.victim.tenant.pk), 1)
    ]
    cluster = api_client("clusters:read").get(f"clusters/{arena.cluster.pk}").json()
    watch = cluster["log_watch"]
    assert (watch["is_watched"], watch["read_from"], watch["reason"]) == (True, "sql", "")


@pytest.mark.parametrize(
    ("statement", "kind", "target", "told"),
    [
        ("/* x */ SET ROLE {victim}_owner", "escalation", "{victim}_owner", "SET ROLE"),
        ("SET SESSION AUTHORIZATION postgres", "escalation", "postgres", "SET SESSION AUTHORIZATION"),
        (f"ALTER ROLE {{victim}}_rw_a PASSWORD '{SECRET}'", "escalation", "{victim}_rw_a", "ALTER ROLE"),
        ("GRANT {victim}_rw TO {login}", "escalation", "{victim}_rw", "GRANT"),
        ("DROP ROLE postgres", "escalation", "postgres", "DROP ROLE"),
        ("COPY (SELECT 1) TO PROGRAM 'id'", "escalation", "", "COPY"),
        ("DELETE FROM {victim}.customers", "foreign_object", "{victim}", "DELETE"),
        ("CREATE TABLE public.x ()", "control_plane", "public", "CREATE TABLE"),
        ("SELECT cp.version()", "control_plane", "cp", "SELECT"),
    ],
)  # fmt: skip
def test_each_kind_is_told_with_its_target(arena: Arena, statement: str, kind: str, target: str, told: str) -> None:
    made = arena.tenant()
    names = {"victim": arena.victim.tenant.schema_name, "login": made.connection.user}
    arena.settle()
    arena.tries(statement.format(**names), made)
    wait_for(lambda: arena.read() or arena.events(made), what="the event")
    (event,) = arena.events(made)
    assert (event.reason, event.after["target_name"], event.after["statement"]) == (kind, target.format(**names), told)
    assert SECRET not in str(event.after)


def test_a_wrong_password_and_another_database(arena: Arena) -> None:
    made = arena.tenant()
    arena.settle()
    for change in ({"password": "wrong"}, {"dbname": "postgres"}):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(made.connection.dsn, **change)
    wait_for(lambda: (arena.read() and False) or len(arena.events(made)) == 2, what="both events")
    login, database = arena.events(made)
    assert (login.reason, login.after["login"], login.after["address"]) == ("login", None, "127.0.0.1")
    assert (login.after["target"], login.after["target_name"]) == (made.tenant.slug, made.connection.user)
    assert (database.reason, database.after["target_name"]) == ("database", "postgres")


def test_what_is_no_attempt_is_left_alone(arena: Arena) -> None:
    """A tenant's own mistakes, introspection at a closed level, and our own probes."""
    made = arena.tenant()
    arena.settle()
    before = IsolationAttempt.objects.filter(cluster=arena.cluster).count()
    for statement in (f"TRUNCATE {made.tenant.schema_name}.customers", "SELECT * FROM pg_catalog.pg_authid"):
        arena.tries(statement, made)
    check = check_isolation(cluster=arena.cluster, sample=0, tenants=[made.tenant], **WHO)
    assert check.probed == 1
    time.sleep(0.5)
    arena.read()
    assert arena.events(made) == []
    assert IsolationAttempt.objects.filter(cluster=arena.cluster).count() == before


def test_nobody_passes_for_a_probe(arena: Arena) -> None:
    """The name of a probe's session is worth nothing in another session."""
    made = arena.tenant()
    arena.settle()
    dsn = psycopg.conninfo.make_conninfo(made.connection.dsn, application_name="cp-probe " + "0" * 32)
    with psycopg.connect(dsn, autocommit=True) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(f"SELECT 1 FROM {arena.victim.tenant.schema_name}.customers")
    wait_for(lambda: arena.read() or arena.events(made), what="the event")


def test_a_flood_is_one_event_with_a_count_and_many_kinds_are_bounded(arena: Arena) -> None:
    made = arena.tenant()
    arena.settle()
    with psycopg.connect(made.connection.dsn, autocommit=True) as session:
        for _ in range(50):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(f"SELECT 1 FROM {arena.victim.tenant.schema_name}.customers")
        for number in range(40):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(f"CREATE ROLE r{number}")
    wait_for(lambda: (arena.read() and False) or _total(made) >= 50, what="the count")
    events = arena.events(made)
    assert len(events) == attempts.PER_ATTACKER
    row = IsolationAttempt.objects.get(attacker=made.tenant, kind="foreign_object")
    assert row.count == 50
    assert LogWatch.objects.get(cluster=arena.cluster).suppressed >= 40 + 1 - attempts.PER_ATTACKER


def _total(made: Any) -> int:
    return sum(IsolationAttempt.objects.filter(attacker=made.tenant).values_list("count", flat=True))


def test_reading_survives_rotation_cutting_and_a_restart(arena: Arena) -> None:
    """Its place is in a row: whoever reads next goes on there; a file cut short begins anew."""
    made = arena.tenant()
    arena.fill_log()
    arena.settle()
    schema = arena.victim.tenant.schema_name
    arena.tries(f"INSERT INTO {schema}.customers DEFAULT VALUES", made)
    place = LogWatch.objects.get(cluster=arena.cluster)
    # As another file of that name, of which more had been read than there is: the log was cut, or taken away.
    LogWatch.objects.filter(pk=place.pk).update(offset=place.offset + 10**9)
    wait_for(lambda: arena.read() or arena.events(made), what="the first")
    assert len(arena.events(made)) == 1
    LogWatch.objects.filter(pk=place.pk).update(file="gone.json", offset=5, head="x")
    arena.tries(f"UPDATE {schema}.customers SET name = ''", made)
    wait_for(lambda: (arena.read() and False) or len(arena.events(made)) == 2, what="the second")
    assert LogWatch.objects.get(cluster=arena.cluster).file == place.file


def test_without_the_right_it_says_that_nobody_watches(arena: Arena) -> None:
    dsn = arena.cluster.dsn(PURPOSE)
    with superuser(arena.server, arena.cluster.dbname) as session:
        role = sql.Identifier(dsn.user)
        session.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION cp.log_files() FROM {}").format(role))
        try:
            assert arena.read() == 0
            watch = LogWatch.objects.get(cluster=arena.cluster)
            assert (watch.is_watched, watch.reason) == (False, collect.NO_RIGHT)
        finally:
            session.execute(sql.SQL("GRANT EXECUTE ON FUNCTION cp.log_files() TO {}").format(role))
    arena.read()
    assert LogWatch.objects.get(cluster=arena.cluster).is_watched


def test_the_monitor_reads_nothing_else_of_the_log(arena: Arena) -> None:
    with psycopg.connect(arena.cluster.dsn(PURPOSE).conninfo(), autocommit=True) as monitor:
        for statement in (
            "SELECT pg_read_file('postgresql.conf')",
            "SELECT pg_read_binary_file('global/pg_control')",
            f"SELECT cp.close_logins('{arena.victim.tenant.schema_name}', '{{}}', true)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                monitor.execute(statement)
        for name in ("../postgresql.conf", "/etc/passwd", "postgres.log", "x.json/../y"):
            with pytest.raises(psycopg.errors.InvalidName):
                monitor.execute("SELECT * FROM cp.log_attempts(%s, 0, 1000)", [name])
