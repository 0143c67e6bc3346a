"""Partitions that are there before they are needed and go when their time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.schemas.compiler import fingerprints
from tenants.schemas.timeseries import TimeSeries, hypertables, initial_partitions, maintain, retained_since, wanted
from tests.compiler.support import Server, clone, compiled

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
MANIFEST = """
[[timeseries]]
table = "ticks"
column = "at"
interval = "1 day"
retention = "30 days"
premake = 2
[[timeseries]]
table = "Größe"
column = "tag"
interval = "1 month"
retention = "1 year"
premake = 1
[[timeseries]]
table = "guarded"
column = "at"
interval = "6 hours"
retention = "1 day"
premake = 1
"""
TEMPLATE = """
CREATE TABLE ticks (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE refers (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES ticks);
CREATE TABLE "Größe" (tag date NOT NULL) PARTITION BY RANGE (tag);
CREATE TABLE guarded (a integer, at timestamp NOT NULL) PARTITION BY RANGE (at);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON guarded USING (a < 10);
CREATE TABLE ticks_old PARTITION OF ticks FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
"""


def spec(interval: str, retention: str = "10 years", premake: int = 2) -> TimeSeries:
    return TimeSeries("t", "at", interval, retention, premake)


@pytest.mark.parametrize(
    ("interval", "name", "begin", "end"),
    [
        ("1 hour", "t_p2026112308", (2026, 11, 23, 8), (2026, 11, 23, 9)),
        ("6 hours", "t_p2026112306", (2026, 11, 23, 6), (2026, 11, 23, 12)),
        ("1 day", "t_p20261123", (2026, 11, 23), (2026, 11, 24)),
        ("1 week", "t_p20261123", (2026, 11, 23), (2026, 11, 30)),
        ("7 days", "t_p20261123", (2026, 11, 23), (2026, 11, 30)),
        ("1 month", "t_p20261101", (2026, 11, 1), (2026, 12, 1)),
        ("3 months", "t_p20261001", (2026, 10, 1), (2027, 1, 1)),
        ("1 year", "t_p20260101", (2026, 1, 1), (2027, 1, 1)),
    ],
)
def test_the_current_partition(interval: str, name: str, begin: tuple[int, ...], end: tuple[int, ...]) -> None:
    first = wanted(spec(interval), NOW)[0]
    assert (first.name, first.begin, first.end) == (
        name,
        datetime(*begin, tzinfo=UTC),  # type: ignore[arg-type,misc]
        datetime(*end, tzinfo=UTC),  # type: ignore[arg-type,misc]
    )


def test_bounds_are_in_utc_wherever_one_asks() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-11)))
    assert wanted(spec("1 day"), elsewhere) == wanted(spec("1 day"), NOW)


@given(
    st.datetimes(datetime.fromisoformat("2001-01-01"), datetime.fromisoformat("2090-01-01")),
    st.sampled_from(["1 hour", "7 hours", "1 day", "5 days", "1 week", "1 month", "5 months", "1 year"]),
    st.integers(1, 20),
)
def test_partitions_adjoin_and_cover_the_time_ahead(moment: datetime, interval: str, premake: int) -> None:
    now = moment.replace(tzinfo=UTC)
    parts = wanted(spec(interval, premake=premake), now)
    assert len(parts) == premake + 1
    assert parts[0].begin <= now < parts[0].end
    assert all(a.end == b.begin and a.name != b.name for a, b in zip(parts, parts[1:], strict=False))
    # Whenever it is asked again, a partition has the bounds it had before.
    assert wanted(spec(interval, premake=premake), parts[1].begin)[:premake] == parts[1:]


def test_retention_counts_months_as_the_calendar_does() -> None:
    assert retained_since(spec("1 day", "2 months"), NOW) == datetime(2026, 9, 23, 8, 30, tzinfo=UTC)
    assert retained_since(spec("1 day", "36 hours"), NOW) == datetime(2026, 11, 21, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "bad",
    [
        {"interval": "0 days"},
        {"interval": "1 fortnight"},
        {"interval": "1 day\n"},
        {"retention": ""},
        {"retention": "1 hour"},
        {"premake": 0},
        {"premake": True},
        {"table": "x" * 60},
    ],
)
def test_declarations_that_make_no_sense(bad: dict[str, object]) -> None:
    good: dict[str, object] = {"table": "t", "column": "at", "interval": "1 day", "retention": "9 days", "premake": 1}
    assert TimeSeries(**good).problem() is None  # type: ignore[arg-type]
    assert TimeSeries(**good | bad).problem()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def template(newest: Server, tmp_path_factory: pytest.TempPathFactory) -> object:
    return compiled(newest, tmp_path_factory.mktemp("template"), TEMPLATE, manifest=MANIFEST)


def _partitions(conn: psycopg.Connection, schema: str) -> list[str]:
    rows = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relispartition AND relkind = 'r'"
        ' ORDER BY relname COLLATE "C"',
        [schema],
    ).fetchall()
    return [name for (name,) in rows]


def test_a_new_schema_and_its_first_weeks(server: Server, tmp_path: Path) -> None:
    template = compiled(server, tmp_path, TEMPLATE, manifest=MANIFEST)
    assert "ticks: the template's partitions were left out, each clone gets its own by date" in template.notes
    schema = clone(server, template)
    with server.connect() as conn:
        with conn.transaction():
            conn.execute(f"SET LOCAL ROLE {schema}_owner")
            conn.execute(initial_partitions(schema, template.timeseries, NOW))
        first = [
            "Größe_p20261101", "Größe_p20261201",
            "guarded_p2026112306", "guarded_p2026112312",
            "ticks_p20261123", "ticks_p20261124", "ticks_p20261125",
        ]  # fmt: skip
        assert _partitions(conn, schema) == first
        targets = [(schema, template.timeseries)]
        report = maintain(conn, targets, NOW)
        assert (report.created, report.dropped, report.failed) == ([], [], {})

        report = maintain(conn, targets, NOW + timedelta(days=2))
        assert sorted(report.created) == [
            f"{schema}.guarded_p2026112506", f"{schema}.guarded_p2026112512",
            f"{schema}.ticks_p20261126", f"{schema}.ticks_p20261127",
        ]  # fmt: skip
        assert sorted(report.dropped) == [f"{schema}.guarded_p2026112306", f"{schema}.guarded_p2026112312"]
        assert maintain(conn, targets, NOW + timedelta(days=2)).created == []

        report = maintain(conn, targets, NOW + timedelta(days=450))
        assert not [name for name in _partitions(conn, schema) if "2026" in name]
        assert fingerprints(conn, [schema]) == {schema: template.fingerprint}


def test_tenants_reach_rows_and_only_through_their_own_protection(newest: Server, template: object) -> None:
    schema = clone(newest, template)  # type: ignore[arg-type]
    with newest.connect(superuser=True) as conn:
        with conn.transaction():
            conn.execute(f"SET LOCAL ROLE {schema}_owner")
            conn.execute(initial_partitions(schema, template.timeseries, NOW))  # type: ignore[attr-defined]
        unprotected = conn.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT (relrowsecurity AND relforcerowsecurity)",
            [schema],
        ).fetchone()
        assert unprotected == (0,)
        conn.execute(f"SET SESSION AUTHORIZATION {schema}_rw; SET search_path = {schema}; SET timezone = 'Asia/Tokyo'")
        conn.execute("INSERT INTO ticks VALUES (1, '2026-11-25 23:59:59+00')")
        assert conn.execute("SELECT count(*) FROM ticks_p20261125").fetchone() == (1,)
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute("INSERT INTO ticks VALUES (1, '2026-11-26 00:00:00+00')")
        conn.execute("INSERT INTO guarded VALUES (1, '2026-11-23 07:00')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("INSERT INTO guarded VALUES (11, '2026-11-23 07:00')")
        # The template's policy holds on the table; beside it, on the partition, there is no way in.
        assert conn.execute("SELECT count(*) FROM guarded").fetchone() == (1,)
        assert conn.execute("SELECT count(*) FROM guarded_p2026112306").fetchone() == (0,)


def test_one_schema_that_fails_does_not_hold_back_the_others(newest: Server, template: object) -> None:
    schemas = [clone(newest, template) for _ in range(3)]  # type: ignore[arg-type]
    with newest.connect(superuser=True) as blocker, newest.connect() as conn, blocker.transaction():
        blocker.execute(f"LOCK TABLE {schemas[1]}.ticks IN ACCESS EXCLUSIVE MODE")
        conn.execute("SET lock_timeout = '200ms'")
        report = maintain(conn, [(s, template.timeseries) for s in schemas], NOW)  # type: ignore[attr-defined]
        assert list(report.failed) == [schemas[1]]
        assert {name.split(".")[0] for name in report.created} == {schemas[0], schemas[2]}
        assert _partitions(conn, schemas[1]) == []


def test_rows_that_others_refer_to_are_kept(newest: Server, template: object) -> None:
    schema = clone(newest, template)  # type: ignore[arg-type]
    targets = [(schema, template.timeseries)]  # type: ignore[attr-defined]
    with newest.connect() as conn:
        maintain(conn, targets, NOW)
        with newest.connect(superuser=True) as tenant:
            tenant.execute(f"SET SESSION AUTHORIZATION {schema}_rw; SET search_path = {schema}")
            tenant.execute("INSERT INTO ticks VALUES (1, '2026-11-23 12:00+00')")
            tenant.execute("INSERT INTO refers VALUES (1, '2026-11-23 12:00+00')")
        later = maintain(conn, targets, NOW + timedelta(days=60))
        assert "refers" in later.failed[schema]
        assert f"{schema}.ticks_p20270122" in later.created, "and what is needed is made all the same"
        assert "ticks_p20261123" in _partitions(conn, schema)


def test_tables_that_are_gone_are_not_maintained(newest: Server, template: object) -> None:
    schema = clone(newest, template)  # type: ignore[arg-type]
    with newest.connect() as conn:
        with conn.transaction():
            conn.execute(f"SET LOCAL ROLE {schema}_owner; DROP TABLE {schema}.ticks CASCADE")
        specs = template.timeseries  # type: ignore[attr-defined]
        report = maintain(conn, [(schema, specs), ("t_missing", specs)], NOW)
    assert report.failed == {}
    assert not [name for name in report.created if "ticks" in name]


def test_what_others_attached_is_not_dropped(newest: Server, template: object) -> None:
    schema = clone(newest, template)  # type: ignore[arg-type]
    with newest.connect() as conn:
        with conn.transaction():
            conn.execute(
                f"SET LOCAL ROLE {schema}_owner; CREATE TABLE {schema}.ticks_p20200101_archive"
                f" PARTITION OF {schema}.ticks FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')"
            )
        report = maintain(conn, [(schema, template.timeseries)], NOW)  # type: ignore[attr-defined]
        assert report.dropped == []
        assert "ticks_p20200101_archive" in _partitions(conn, schema)


def test_hypertables_keep_their_chunks_in_the_tenants_schema(newest: Server) -> None:
    with newest.connect(superuser=True) as conn:
        if not conn.execute("SELECT FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone():
            text = hypertables("cpm_x", [spec("1 day", "9 days")], "extensions")
            assert "associated_schema_name => 'cpm_x'" in text
            pytest.skip("TimescaleDB is not on this server: only the statement's text was looked at")
        conn.execute("CREATE SCHEMA chunks; CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public")
        conn.execute("CREATE TABLE chunks.t (at timestamptz NOT NULL)")
        conn.execute(hypertables("chunks", [spec("1 day", "9 days")], "public").encode())
        conn.execute("INSERT INTO chunks.t VALUES (now())")
        row = conn.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'chunks'::regnamespace").fetchone()
        assert row is not None
        assert row[0] > 1
