"""Two tenants through one PgBouncer, many transactions between each other: nothing of one is ever seen by the other."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tenants import plans, pooling
from tests.pooling.support import WHO, Front, needs_pgbouncer, through
from tests.support.fixtures import fresh_slug

pytestmark = needs_pgbouncer
ROUNDS = 40

# What a session can leave behind, and how another one would find it.
LEAVE = (
    "SET search_path = pg_temp, {schema}",
    "SET app.secret = '{mark}'",
    "SET application_name = '{mark}'",
    "SET statement_timeout = 12345",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "PREPARE stolen AS SELECT '{mark}'",
    "LISTEN {mark}",
    "SELECT pg_try_advisory_lock({number})",
    "DECLARE stolen CURSOR WITH HOLD FOR SELECT '{mark}' AS mark",
    "SET ROLE {group}",
    "CREATE TEMP TABLE IF NOT EXISTS stolen AS SELECT '{mark}' AS mark",
)
FIND = """
SELECT current_user, session_user, current_setting('app.secret', true),
       current_setting('search_path'), current_setting('statement_timeout'), current_setting('application_name'),
       to_regclass('pg_temp.stolen')::text,
       (SELECT string_agg(name || statement, ',') FROM pg_prepared_statements),
       (SELECT string_agg(name, ',') FROM pg_cursors),
       (SELECT string_agg(channel, ',') FROM pg_listening_channels() AS channel),
       (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
       pg_backend_pid()
"""


class Side:
    """One of the two: its connection, its marks, and every backend it was ever served by."""

    def __init__(self, made: Any) -> None:
        self.connection = made.connection
        self.schema = made.tenant.schema_name
        self.mark = f"mark_{self.schema}"
        self.number = random.randrange(2**31)
        self.backends: set[int] = set()

    def words(self) -> dict[str, Any]:
        return {"schema": self.schema, "mark": self.mark, "number": self.number, "group": f"{self.schema}_rw"}


@pytest.fixture(scope="module")
def sides(front: Front) -> tuple[Side, Side]:
    return Side(front.tenant()), Side(front.tenant())


def leave_something(session: psycopg.Connection[Any], side: Side, chooser: random.Random) -> None:
    """One transaction that leaves as much as it can; some of it is refused, by rights or by an earlier one."""
    for statement in chooser.sample(LEAVE, 5):
        with suppress(psycopg.Error):
            session.execute(statement.format(**side.words()))
        assert not session.closed


def look(session: psycopg.Connection[Any], mine: Side, other: Side) -> None:
    """One look at everything: it may be one's own, never the other's."""
    row = session.execute(FIND).fetchone()
    assert row is not None
    assert row[1] == mine.connection.user
    assert row[0] in (mine.connection.user, f"{mine.schema}_rw")
    assert other.schema not in str(row)
    assert str(other.number) not in str(row)
    mine.backends.add(row[-1])


@pytest.mark.parametrize("clients", [1, 6])
def test_nothing_of_one_tenant_is_seen_by_another(sides: tuple[Side, Side], clients: int) -> None:
    """Alternating one by one, then as many at once as there are pools."""
    failures: list[BaseException] = []

    def work(mine: Side, other: Side, seed: int) -> None:
        chooser = random.Random(seed)
        try:
            with through(mine.connection) as session:
                for _ in range(ROUNDS // clients + 5):
                    look(session, mine, other)
                    leave_something(session, mine, chooser)
        except BaseException as error:
            failures.append(error)

    one, two = sides
    threads = [
        threading.Thread(target=work, args=(mine, other, seed))
        for seed in range(clients)
        for mine, other in ((one, two), (two, one))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert one.backends
    assert two.backends
    assert not one.backends & two.backends, "no server connection ever served both"


def test_with_one_server_connection_for_each_login(front18: Front) -> None:
    """The tightest pool: every client of a tenant shares its one connection, and none of them the other tenant's."""
    before = plans.Plan.objects.get(is_default=True)
    size = before.pool_size
    plans.update_plan(plan=before, changes={"pool_size": 1}, **WHO)
    try:
        assert pooling.sync_pooler(front18.pooler, **WHO).changed
        one, two = Side(front18.tenant()), Side(front18.tenant())
        chooser = random.Random(1)
        sessions = [
            (side, other, through(side.connection)) for side, other in ((one, two), (two, one)) for _ in (1, 2, 3)
        ]
        for _ in range(ROUNDS):
            mine, other, session = chooser.choice(sessions)
            look(session, mine, other)
            leave_something(session, mine, chooser)
        assert (len(one.backends), len(two.backends)) == (1, 1)
        assert one.backends != two.backends
        for _, _, session in sessions:
            session.close()
    finally:
        plans.update_plan(plan=before, changes={"pool_size": size}, **WHO)
        pooling.sync_pooler(front18.pooler, **WHO)


def test_rows_stay_with_their_tenant(sides: tuple[Side, Side]) -> None:
    """Interleaved writes and reads of both, each in transactions of its own."""
    one, two = sides
    names = {side: fresh_slug("row") for side in sides}
    with through(one.connection) as first, through(two.connection) as second:
        pairs = ((one, first), (two, second))
        for side, session in pairs:
            session.execute("RESET ALL")
            session.execute(f"SET search_path = {side.schema}")
        for round_ in range(ROUNDS):
            for side, session in pairs:
                with session.transaction():
                    session.execute(f"SET LOCAL search_path = {side.schema}")
                    session.execute("INSERT INTO customers (name) VALUES (%s)", [f"{names[side]}-{round_}"])
        for side, session in pairs:
            with session.transaction():
                session.execute(f"SET LOCAL search_path = {side.schema}")
                found = {row[0] for row in session.execute("SELECT name FROM customers").fetchall()}
            other = two if side is one else one
            assert sum(name.startswith(names[side]) for name in found) == ROUNDS
            assert not any(name.startswith(names[other]) for name in found)


def test_a_shared_login_would_leak(front18: Front) -> None:
    """The control of the tests above: two clients of one login do see what the other has left."""
    side = Side(front18.tenant())
    with through(side.connection) as first, through(side.connection) as second:
        first.execute("SET app.secret = 'left behind'")
        assert second.execute("SELECT current_setting('app.secret', true)").fetchone() == ("left behind",)
