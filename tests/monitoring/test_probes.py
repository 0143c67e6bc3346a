"""Each probe sees a real condition on a real server, as the login that may only look."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import psycopg
import pytest

from monitoring.models import ProbeCounters, TenantActivity, TenantSize
from monitoring.probes import worst_statements
from monitoring.probes.activity import ActivityRow
from monitoring.probes.control_plane import FleetRow
from monitoring.probes.link import linked
from monitoring.probes.server import ServerRow
from monitoring.probes.sizes import SizeRow
from monitoring.probes.statements import without_literals
from monitoring.sweep import SAMPLES
from tenants.models import Tenant
from tests.monitoring.places import Place, prepared, session_of
from tests.support.processes import wait_for


@pytest.fixture(scope="module", params=["18", "15"])
def place(request: pytest.FixtureRequest, template: Any) -> Iterator[Place]:
    with prepared(request.param, template) as made:
        yield made


@pytest.fixture(scope="module")
def acme(place: Place) -> Any:
    return place.tenant()


def test_probes_look_as_a_login_that_can_do_nothing_else(place: Place) -> None:
    with linked(place.cluster) as link:
        row = link.connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls,"
            " current_setting('default_transaction_read_only'),"
            " current_setting('statement_timeout'), current_setting('lock_timeout')"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (False, False, False, False, "on", "15s", "200ms")


def test_sessions_of_each_kind_are_counted_against_the_limit(place: Place, acme: Any) -> None:
    idle, busy, lazy = session_of(acme), session_of(acme), session_of(acme)
    with idle, busy, lazy:
        lazy.execute("BEGIN; SELECT 1")
        ended = threading.Thread(target=lambda: busy.execute("SELECT pg_sleep(2)"))
        ended.start()
        time.sleep(0.5)
        row = place.watch("activity", acme)
        ended.join()
    assert (row.connections, row.active, row.idle_in_transaction, row.waiting) == (3, 1, 1, 0)
    assert row.connection_limit == acme.tenant.effective_limits()["connection_limit"]
    assert 0.3 < row.oldest_transaction_seconds < 30
    assert place.state("activity").queries == 4
    wait_for(lambda: place.watch("activity", acme).connections == 0, seconds=10)


def test_who_waits_for_whom_is_told_by_tenant(place: Place, acme: Any) -> None:
    """The waiting session is the superuser's, as if a migration waited for a tenant."""
    table = f"{acme.tenant.schema_name}.customers"
    with session_of(acme) as holder, place.superuser() as waiter, session_of(acme) as second:
        holder.execute("BEGIN; LOCK TABLE customers IN SHARE ROW EXCLUSIVE MODE")
        threads = [
            threading.Thread(target=run, args=(session, f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
            for session, run in ((waiter, _in_transaction), (second, _in_transaction))
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        row = place.watch("activity", acme)
        holder.execute("ROLLBACK")
        for thread in threads:
            thread.join()
    assert (row.waiting, row.blocking) == (1, 1)
    pairs = place.state("activity").memory["blocking"]
    assert {(one["waiter"], one["blocker"]) for one in pairs} >= {
        ("login postgres", str(acme.tenant.pk)), (str(acme.tenant.pk), str(acme.tenant.pk))
    }  # fmt: skip
    assert all(one["seconds"] > 0.2 for one in pairs)
    assert acme.tenant.schema_name not in str(pairs)


def _in_transaction(session: psycopg.Connection[Any], statement: str) -> None:
    session.execute("BEGIN")
    session.execute(statement)
    session.execute("ROLLBACK")


def test_statements_are_counted_since_the_look_before(place: Place) -> None:
    made = place.tenant()
    first = place.watch("activity", made)
    with session_of(made) as session:
        session.execute("SET work_mem = '64kB'")
        for number in range(7):
            session.execute("SELECT %s::int + 1", [number])
        session.execute("SELECT pg_sleep(0.2)")
        session.execute("SELECT count(*) FROM (SELECT g FROM generate_series(1, 60000) g ORDER BY random()) s")
        row = place.watch("activity", made)
    assert row.span_seconds == pytest.approx((row.taken_at - first.taken_at).total_seconds())
    assert row.calls >= 9
    assert row.rows >= 9
    assert row.total_seconds >= 0.2
    assert row.max_seconds >= 0.2
    assert row.temp_bytes > 100_000
    again = place.watch("activity", made)
    assert (again.calls, again.temp_bytes, again.rows) == (0, 0, 0)


def test_counters_that_begin_anew_count_from_zero(place: Place) -> None:
    made = place.tenant()
    with session_of(made) as session:
        for _ in range(20):
            session.execute("SELECT 'before'")
        assert place.look("activity").rows
        place.look("activity")
        with place.superuser() as superuser:
            superuser.execute("SELECT extensions.pg_stat_statements_reset()")
        for _ in range(3):
            session.execute("SELECT 'before'")
        row = place.watch("activity", made)
    assert row.calls == 3
    assert row.total_seconds >= 0


def test_without_the_extension_everything_else_is_seen(place: Place) -> None:
    made = place.tenant()
    place.look("activity")
    with place.superuser() as superuser:
        superuser.execute("DROP EXTENSION pg_stat_statements")
    try:
        with session_of(made) as session:
            session.execute("SELECT 1")
            row = place.watch("activity", made)
        state = place.state("activity")
        assert "pg_stat_statements is not installed" in state.unavailable
        assert (state.error, state.failing_since) == ("", None)
        assert (row.connections, row.calls, row.span_seconds, row.max_seconds) == (1, None, None, None)
        assert not ProbeCounters.objects.filter(state=state).exists()
        assert worst_statements(made.tenant) == []
    finally:
        with place.superuser() as superuser:
            superuser.execute("CREATE EXTENSION pg_stat_statements SCHEMA extensions")
    assert place.watch("activity", made).calls is None
    assert place.watch("activity", made).calls is not None
    with place.superuser() as superuser:
        superuser.execute("REVOKE USAGE ON SCHEMA extensions FROM cp_operator")
    place.look("activity")
    assert "permission denied" in place.state("activity").unavailable
    with place.superuser() as superuser:
        superuser.execute("GRANT USAGE ON SCHEMA extensions TO cp_operator")


def test_the_worst_statements_of_a_tenant_hold_no_literal(place: Place) -> None:
    made, other = place.tenant(), place.tenant()
    with session_of(made) as session, session_of(other) as another:
        session.execute("/* who */ SELECT pg_sleep(0.15), 'a-secret-value', 424242")
        session.execute("SELECT 'cheap'")
        session.execute("SET application_name = 'a-secret-value'")
        session.execute("EXPLAIN SELECT 'a-secret-value'")
        another.execute("SELECT 'of another'::text, pg_sleep(0.3)")
    [worst, *rest] = worst_statements(made.tenant, 5)
    assert "pg_sleep($1)" in worst.text
    assert worst.calls == 1
    assert worst.max_seconds >= 0.15
    text = str([worst, *rest])
    assert "secret" not in text
    assert "424242" not in text
    assert not [one for one in (worst, *rest) if one.text.startswith(("SET", "EXPLAIN"))]
    assert len(worst_statements(made.tenant, 1)) == 1


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("SELECT $1 FROM t1 WHERE a = 'it''s' AND b=12.5", "SELECT $1 FROM t1 WHERE a = … AND b=…"),
        ("""SELECT E'it\\'s', 'c:\\' || 'x', "it's\"""", """SELECT …, … || …, "it's\""""),
        ("SELECT $x$ it's $x$, $$ 'b' $$ FROM \"t 5\"", 'SELECT …, … FROM "t 5"'),
    ],
)
def test_a_text_that_was_not_normalised_is(kept: str, shown: str) -> None:
    assert without_literals(kept) == shown


def test_sizes_are_those_of_the_files(place: Place) -> None:
    made = place.tenant()
    schema = made.tenant.schema_name
    before = place.watch("sizes", made)
    with session_of(made) as session:
        session.execute(
            "INSERT INTO customers (name)"
            " SELECT (SELECT string_agg(md5(g::text || n), '') FROM generate_series(1, 300) n)"
            " FROM generate_series(1, 400) g"
        )
        session.execute("DELETE FROM customers WHERE id % 2 = 0")
    with place.superuser() as superuser:
        superuser.execute("CHECKPOINT")
        exact = superuser.execute(
            "SELECT sum(pg_relation_size(c.oid, f))::bigint FROM pg_class c, unnest('{main,fsm,vm,init}'::text[]) f"
            " WHERE c.relnamespace = to_regnamespace(%(s)s) OR c.oid IN (SELECT reltoastrelid FROM pg_class"
            " WHERE relnamespace = to_regnamespace(%(s)s)) OR c.oid IN (SELECT indexrelid FROM pg_index JOIN pg_class t"
            " ON t.reltoastrelid = indrelid WHERE t.relnamespace = to_regnamespace(%(s)s))", {"s": schema},
        ).fetchone()[0]  # fmt: skip
        superuser.execute("SELECT pg_stat_force_next_flush()")
    row = place.watch("sizes", made)
    assert row.total_bytes == exact
    assert row.total_bytes == row.table_bytes + row.index_bytes + row.toast_bytes
    assert row.total_bytes > before.total_bytes
    assert row.quota_bytes == made.tenant.effective_limits()["storage_quota_bytes"]
    assert row.tables >= 1
    wait_for(lambda: place.watch("sizes", made).dead_rows >= 200, seconds=10)
    row = place.watch("sizes", made)
    assert row.vacuum_age_seconds > 0
    assert row.xid_age >= 0
    assert place.state("sizes").queries == 2
    with place.superuser() as superuser:
        superuser.execute(f"VACUUM (ANALYZE) {schema}.customers")
    wait_for(lambda: place.watch("sizes", made).dead_rows == 0, seconds=10)
    row = place.watch("sizes", made)
    assert (row.vacuum_age_seconds, row.analyze_age_seconds) == (0, 0)
    assert row.live_rows >= 200


def test_who_holds_a_table_holds_no_probe_up(place: Place) -> None:
    made = place.tenant()
    with session_of(made) as session:
        session.execute("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE")
        assert place.watch("sizes", made).total_bytes > 0
        assert place.state("sizes").duration_ms < 5000
        session.execute("ROLLBACK")


def test_where_files_cannot_be_listed_sizes_are_said_to_be_estimates(place: Place, acme: Any) -> None:
    with place.superuser() as superuser:
        superuser.execute("ALTER FUNCTION cp.file_sizes() OWNER TO controlplane")
    try:
        row = place.watch("sizes", acme)
        assert "last VACUUM or ANALYZE" in place.state("sizes").unavailable
        assert row.total_bytes is not None
    finally:
        with place.superuser() as superuser:
            superuser.execute("ALTER FUNCTION cp.file_sizes() OWNER TO postgres")
    place.look("sizes")
    assert place.state("sizes").unavailable == ""


def test_a_server_is_seen_as_a_whole(place: Place, acme: Any) -> None:
    place.look("server")
    with session_of(acme) as session, place.superuser() as superuser:
        superuser.execute("CREATE TABLE public.noise AS SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g")
        superuser.execute("DROP TABLE public.noise; CHECKPOINT")
        session.execute("SET work_mem = '64kB'")
        session.execute("SELECT count(*) FROM (SELECT g FROM generate_series(1, 60000) g ORDER BY random()) s")
        for who in (session, superuser):
            who.execute("BEGIN; ROLLBACK")
    wait_for(lambda: place.look("server") and place.seen("server").temp_bytes > 0, seconds=15)
    place.look("server")
    row = place.seen("server")
    assert row.connections >= 1
    assert row.connection_slots > 100
    assert row.span_seconds > 0
    assert row.size_bytes > 5_000_000
    assert 0 < row.disk_free_bytes < row.disk_total_bytes
    assert (row.replicas, row.replication_lag_seconds) == (0, None)
    assert row.xid_age > 0
    assert row.pooler_waiting is None
    memory = place.state("server").memory
    assert memory["settings"]["shared_preload_libraries"] == "pg_stat_statements"
    assert memory["version"].split(".")[0] == str(place.cluster.server_version_num // 10000)
    assert place.state("server").queries == 6


def test_counters_of_the_server_are_differences(place: Place) -> None:
    place.look("server")
    with place.superuser() as superuser:
        superuser.execute("CREATE TABLE public.noise AS SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g")
        superuser.execute("DROP TABLE public.noise; CHECKPOINT")
        place.look("server")
        row = place.seen("server")
        assert 1_000_000 < row.wal_bytes < 1_000_000_000
        assert row.checkpoints_requested >= 1
        slot = f"cp_{uuid.uuid4().hex[:8]}"
        superuser.execute("SELECT pg_create_physical_replication_slot(%s, true)", [slot])
        try:
            place.look("server")
            [found] = [one for one in place.state("server").memory["slots"] if one["name"] == slot]
            assert found["active"] is False
            assert found["retained_bytes"] >= 0
        finally:
            superuser.execute("SELECT pg_drop_replication_slot(%s)", [slot])


def test_a_deadlock_is_counted(place: Place, acme: Any) -> None:
    place.look("server")
    with session_of(acme) as one, session_of(acme) as two:
        with place.superuser() as superuser:
            superuser.execute(f"ALTER ROLE {one.info.user} SET deadlock_timeout = '100ms'")
        for session in (one, two):
            session.execute("BEGIN")
        one.execute("LOCK TABLE customers IN SHARE ROW EXCLUSIVE MODE")
        two.execute("LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE")
        failed: list[Exception] = []

        def lock(session: Any, table: str) -> None:
            try:
                session.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
            except psycopg.errors.DeadlockDetected as error:
                failed.append(error)
            session.execute("ROLLBACK")

        threads = [threading.Thread(target=lock, args=pair) for pair in ((one, "orders"), (two, "customers"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed
    counted: list[int] = []

    def look() -> bool:
        place.look("server")
        counted.append(place.seen("server").deadlocks)
        return sum(counted) > 0

    wait_for(look, seconds=15)


def test_as_many_statements_for_three_hundred_tenants_as_for_one(place: Place, acme: Any) -> None:
    few = {probe: place.look(probe).queries for probe in ("activity", "sizes", "server")}
    template = Tenant.objects.get(pk=acme.tenant.pk)
    crowd = [
        Tenant(
            name="Crowd", slug=f"crowd-{uuid.uuid4().hex[:12]}", state="active", plan=template.plan,
            cluster=place.cluster, template=template.template, template_version=1,
            schema_name="t_" + uuid.uuid4().hex[:20].translate(str.maketrans("0189", "wxyz")),
        )
        for _ in range(300)
    ]  # fmt: skip
    Tenant.objects.bulk_create(crowd)
    try:
        with place.superuser() as superuser:
            superuser.execute(
                ";".join(f"CREATE SCHEMA {one.schema_name}; CREATE TABLE {one.schema_name}.t (a int)" for one in crowd)
            )
        for probe, queries in few.items():
            outcome = place.look(probe)
            assert outcome.queries == queries
            if probe != "server":
                assert outcome.rows >= 301
        assert sum(few.values()) + 3 <= 20
        ids = [one.pk for one in crowd]
        assert TenantActivity.objects.filter(tenant_id__in=ids).count() == 300
        assert TenantSize.objects.filter(tenant_id__in=ids, tables=1).count() == 300
    finally:
        with place.superuser() as superuser:
            for one in crowd:
                superuser.execute(f"DROP SCHEMA IF EXISTS {one.schema_name} CASCADE")
        Tenant.objects.filter(pk__in=[one.pk for one in crowd]).delete()


@pytest.mark.parametrize(
    ("probe", "row"),
    [("activity", ActivityRow), ("sizes", SizeRow), ("server", ServerRow), ("control_plane", FleetRow)],
)
def test_a_probe_brings_every_column(probe: str, row: type) -> None:
    columns = {field.name for field in SAMPLES[probe]._meta.concrete_fields}
    assert {field.name for field in fields(row)} == columns
