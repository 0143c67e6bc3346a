"""Real offenders are ended within seconds, and nobody else is."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection as registry
from django.test.utils import CaptureQueriesContext
from psycopg import sql

from provisioning import services, slots
from tenants.hardening import template as template_of_databases
from tenants.hardening.prepare import prepare_cluster
from tenants.models import AuditEvent, Cluster, ClusterLogin, Reaper
from tenants.postgres import connect
from tenants.reaping.reaper import reap_cluster
from tenants.reaping.watch import PURPOSE, Watch
from tests.commands.support import call, text
from tests.pooling.support import WHO, Server, database, registered, server
from tests.support.fixtures import fresh_slug
from tests.support.processes import running, wait_for

END_SECONDS = 3.0
SHORT = {"idle_in_transaction_timeout_ms": 300, "statement_timeout_ms": 300}
SECRET = "a literal that nobody else may read"


class Arena:
    """A cluster prepared by a superuser, so that the reaper has a login of its own, and a watch over it."""

    def __init__(self, where: Server, cluster: Cluster, template: Any) -> None:
        self.server, self.cluster, self.template = where, cluster, template

    def tenant(self, **options: Any) -> Any:
        assert slots.build(slots.reserve(self.cluster, self.template))
        return services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=self.cluster.name, template=self.template.template.name,
            **{**WHO, **options},
        )  # fmt: skip

    def superuser(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.superuser_url, dbname=self.cluster.dbname, autocommit=True)

    def events(self, made: Any) -> list[AuditEvent]:
        return list(AuditEvent.objects.filter(action="session.reaped", tenant_id=made.tenant.pk).order_by("id"))


@pytest.fixture(scope="module", params=["18", "15"])
def place(request: pytest.FixtureRequest, template: Any) -> Iterator[Arena]:
    where = server(request.param)
    with database(where) as dbname:
        cluster = registered(where, dbname)
        superuser = psycopg.conninfo.make_conninfo(where.superuser_url, dbname=dbname)
        prepare_cluster(cluster=cluster, level="lockdown", superuser_url=superuser, **WHO)
        made = Arena(where, Cluster.objects.get(pk=cluster.pk), template)
        names = list(ClusterLogin.objects.filter(cluster=cluster).values_list("username", flat=True))
        yield made
        with made.superuser() as session:
            template_of_databases.drop(session, cluster)
            for name in names:
                session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


@pytest.fixture
def watched(place: Arena) -> Iterator[Arena]:
    watch = Watch(place.cluster)
    yield place
    watch.stop()
    watch.thread.join(5)


def session_of(made: Any) -> psycopg.Connection[Any]:
    """The tenant's, with every timeout of its own switched off."""
    session = psycopg.connect(made.connection.dsn, autocommit=True, connect_timeout=5)
    session.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0")
    return session


def is_alive(session: psycopg.Connection[Any]) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def seconds_until_ended(session: psycopg.Connection[Any], statement: str) -> float:
    """How long a statement ran until its session was ended."""
    began = time.monotonic()
    with pytest.raises(psycopg.errors.AdminShutdown):
        session.execute(statement)
    return time.monotonic() - began


def test_a_transaction_left_idle_is_ended(watched: Arena) -> None:
    made = watched.tenant(limits=SHORT)
    session = session_of(made)
    session.execute("BEGIN")
    session.execute(f"SELECT '{SECRET}'")
    limit = time.monotonic() + END_SECONDS
    while not watched.events(made) and time.monotonic() < limit:
        time.sleep(0.05)  # without touching the session, which would be no longer idle
    assert not is_alive(session)
    (event,) = watched.events(made)
    assert event.after["rule"] == event.reason == "idle_in_transaction"
    assert event.after["limit_ms"] == 800
    assert event.after["login"] == made.connection.user
    assert (event.channel, event.actor_kind) == ("reaper", "system")


def test_a_statement_beyond_the_plan_is_ended_whatever_the_tenant_has_set(watched: Arena) -> None:
    made = watched.tenant(limits=SHORT)
    before = ended(watched, "statement_too_long")
    with watched.superuser() as admin:  # nothing keeps a tenant from changing its own settings
        admin.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = 0").format(sql.Identifier(made.connection.user)))
    assert seconds_until_ended(session_of(made), f"SELECT pg_sleep(30), '{SECRET}'") < END_SECONDS
    wait_for(lambda: watched.events(made), what="the event")
    (event,) = watched.events(made)
    assert (event.after["rule"], event.after["statement"]) == ("statement_too_long", "SELECT")
    assert SECRET not in str(vars(event))
    assert "pg_sleep" not in str(vars(event))
    assert ended(watched, "statement_too_long") == before + 1


def ended(arena: Arena, rule: str) -> int:
    row = Reaper.objects.filter(cluster=arena.cluster).first()
    return row.ended.get(rule, 0) if row else 0


def test_who_waits_for_a_lock_on_another_tenants_schema_is_ended(watched: Arena) -> None:
    """DROP SCHEMA waits for an exclusive lock before it is refused, and everybody else waits behind it."""
    made, victim = watched.tenant(), watched.tenant()
    schema = sql.Identifier(victim.tenant.schema_name)
    attacker, stalled = session_of(made), []

    def ddl() -> None:
        with watched.superuser() as second:
            time.sleep(0.3)
            began = time.monotonic()
            second.execute(sql.SQL("CREATE TABLE {}.second ()").format(schema))
            stalled.append(time.monotonic() - began)

    with watched.superuser() as first, first.transaction():
        first.execute(sql.SQL("CREATE TABLE {}.first ()").format(schema))
        thread = threading.Thread(target=ddl)
        thread.start()
        assert seconds_until_ended(attacker, f"DROP SCHEMA {victim.tenant.schema_name} CASCADE") < END_SECONDS
        thread.join(10)
    assert stalled
    assert stalled[0] <= 2.0
    wait_for(lambda: watched.events(made), what="the event")
    (event,) = watched.events(made)
    assert event.after["rule"] == "lock_on_foreign"
    assert event.after["foreign_object"] == victim.tenant.schema_name
    assert event.after["statement"] == "DROP SCHEMA"
    assert not watched.events(victim)


def test_a_session_of_a_closed_login_is_ended(watched: Arena) -> None:
    made = watched.tenant()
    session = session_of(made)
    with watched.superuser() as admin:
        admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(made.connection.user)))
    wait_for(lambda: watched.events(made), seconds=END_SECONDS, what="the end")
    assert not is_alive(session)
    assert watched.events(made)[0].after["rule"] == "login_closed"


def test_a_well_behaved_session_is_left_alone(watched: Arena) -> None:
    """Idle without a transaction, busy within its limit, and waiting for another of its own for longer than 1.5 s."""
    made = watched.tenant()
    idle, first, second = session_of(made), session_of(made), session_of(made)
    table = sql.SQL("LOCK TABLE {}.customers IN EXCLUSIVE MODE").format(sql.Identifier(made.tenant.schema_name))
    waited: list[float] = []

    def wait() -> None:
        began = time.monotonic()
        with second.transaction():
            second.execute(table)
        waited.append(time.monotonic() - began)

    thread = threading.Thread(target=wait)
    with first.transaction():
        first.execute(table)
        thread.start()
        first.execute("SELECT pg_sleep(2.5)")
    thread.join(10)
    assert waited
    assert waited[0] > 2
    assert all(map(is_alive, (idle, first, second)))
    assert watched.events(made) == []


def test_others_than_tenants_are_never_ended(watched: Arena) -> None:
    """A superuser and the control plane's login do all that a tenant may not; not even a forged call ends them."""
    own = psycopg.connect(watched.cluster.dsn().conninfo(), autocommit=True)
    with own, watched.superuser() as admin:
        for session in (own, admin):
            session.execute("SET idle_in_transaction_session_timeout = 0")
            session.execute("BEGIN")
            session.execute("SELECT 1")
        time.sleep(END_SECONDS)
        assert all(map(is_alive, (own, admin)))
        with connect(watched.cluster.dsn(PURPOSE), autocommit=True) as reaper:
            for session in (own, admin):
                for rule in ("idle_in_transaction", "login_closed", "statement_too_long"):
                    row = admin.execute(
                        "SELECT state_change FROM pg_stat_activity WHERE pid = %s", [session.info.backend_pid]
                    ).fetchone()
                    assert row
                    forged = [[session.info.backend_pid], [rule], [row[0]]]
                    found = reaper.execute("SELECT pid FROM cp.reap(%s::int[], %s::text[], %s::timestamptz[])", forged)
                    assert found.fetchall() == []
        assert all(map(is_alive, (own, admin)))


def test_the_reapers_login_can_do_nothing_else(watched: Arena) -> None:
    made = watched.tenant()
    dsn = watched.cluster.dsn(PURPOSE)
    assert dsn.user.startswith("cp_reaper_")
    with watched.superuser() as admin:
        wait_for(
            lambda: admin.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'controlplane reaper' AND usename = %s",
                [dsn.user],
            ).fetchone(),
            what="the watch's session",
        )
    tenant = session_of(made)
    with psycopg.connect(dsn.conninfo(), autocommit=True) as reaper, tenant:
        for statement in (
            f"SELECT pg_terminate_backend({tenant.info.backend_pid})",
            f"SELECT * FROM {made.tenant.schema_name}.customers",
            "CREATE ROLE another",
            f"SELECT cp.close_logins('{made.tenant.schema_name}', '{{}}', true)",
            "SELECT * FROM cp.pooler_lookup('x')",
            "CREATE SCHEMA another",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reaper.execute(statement)
        assert is_alive(tenant)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tenant.execute("SELECT * FROM cp.reap_candidates(0)")


def test_looking_takes_the_same_number_of_queries_however_many_there_are(place: Arena) -> None:
    dsn = place.cluster.dsn(PURPOSE)

    def look() -> int:
        with connect(dsn, autocommit=True) as reaper, CaptureQueriesContext(registry) as captured:
            found = reap_cluster(place.cluster, reaper)
        assert found.reaped == []
        assert found.next_ms is not None
        return len(captured)

    sessions = [session_of(place.tenant()) for _ in range(4)]
    for session in sessions[:1]:
        session.execute("BEGIN")
    time.sleep(0.2)
    alone = look()
    for session in sessions[1:]:
        session.execute("BEGIN")
    time.sleep(0.2)
    assert look() == alone == 1
    for session in sessions:
        session.close()


def test_one_look_by_command(place: Arena) -> None:
    made = place.tenant(limits=SHORT)
    session = session_of(made)
    session.execute("BEGIN")
    time.sleep(1)
    (one,) = call("run_reaper", place.cluster.name, "--once")["ended"]
    assert (one["tenant"], one["rule"], one["statement"]) == (made.tenant.slug, "idle_in_transaction", "BEGIN")
    assert not is_alive(session)
    session = session_of(made)
    session.execute("BEGIN")
    time.sleep(1)
    assert made.tenant.slug in text("run_reaper", place.cluster.name, "--once")


def test_the_process_watches_all_clusters_and_ends_when_told(place: Arena, api_client: Any) -> None:
    made = place.tenant(limits=SHORT)
    Reaper.objects.filter(cluster=place.cluster).update(seen_at=None)
    with running([sys.executable, "manage.py", "run_reaper"]) as process:
        wait_for(
            lambda: Reaper.objects.filter(cluster=place.cluster, seen_at__isnull=False).exists(),
            seconds=40, what="its first look", running=process,
        )  # fmt: skip
        assert Reaper.objects.get(cluster=place.cluster).is_watching
        assert seconds_until_ended(session_of(made), "SELECT pg_sleep(30)") < END_SECONDS
        wait_for(lambda: place.events(made), what="the event")
        shown = api_client("clusters:read").get(f"clusters/{place.cluster.pk}").json()["reaper"]
        assert shown["is_watching"]
        assert shown["ended"]["statement_too_long"] >= 1
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(10) == 0, process.log
        assert SECRET not in process.log
        assert "Traceback" not in process.log
