"""Time-series tables without an extension: native range partitions, made ahead and retired by retention.

A template declares such tables; their clones begin without partitions. `initial_partitions` gives a new schema its
first ones, `maintain` keeps a cluster's schemas supplied and drops what is past its retention. Bounds are in UTC.
`hypertables` is the variant for clusters with TimescaleDB.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenants.identifiers import check_plain_name
from tenants.postgres import load_queries
from tenants.schemas.roles import as_owner

_QUERIES = load_queries(Path(__file__).with_name("timeseries.sql"))
_INTERVAL = re.compile(r"([1-9][0-9]{0,3}) (hour|day|week|month|year)s?\Z")
_HOURS = {"hour": 1, "day": 24, "week": 168}
_MONTHS = {"month": 1, "year": 12}
_MONDAY = datetime(2000, 1, 3, tzinfo=UTC)  # weeks begin on Monday; days and hours divide it too
_MAX_IDENTIFIER = 63
MAX_PREMAKE = 400
# Says on the parent's policy that its partitions come and go, so that fingerprints leave them out.
MARK = "time series: "
# Stands for a schema's name; no name that people give can hold it.
_MARKER = "cp_schema_7d2e9b4c61f0"


@dataclass(frozen=True)
class TimeSeries:
    """A table range-partitioned by a time column, and how its partitions are kept.

    `interval` is a partition's width, `retention` the age at which it is dropped ("N hours|days|weeks|months|years");
    `premake` is the number of partitions kept ready beyond the current one. The compiler sets `own_policies` when the
    template brought policies for the table, and `hypertable` when TimescaleDB keeps the partitions instead of us.
    """

    table: str
    column: str
    interval: str
    retention: str
    premake: int
    own_policies: bool = False
    hypertable: bool = False

    def problem(self) -> str | None:
        """What is wrong with this declaration by itself; None when nothing is."""
        for field, value in (("interval", self.interval), ("retention", self.retention)):
            if not isinstance(value, str) or not _INTERVAL.match(value):
                return f"{field} {value!r} is not 'N hours', 'N days', 'N weeks', 'N months' or 'N years'"
        if isinstance(self.premake, bool) or not isinstance(self.premake, int) or not 1 <= self.premake <= MAX_PREMAKE:
            return f"premake is a whole number from 1 to {MAX_PREMAKE}"
        if retained_since(self, _MONDAY) > _MONDAY - _shortest(self.interval):
            return "retention is shorter than one interval"
        if len(self.table.encode()) > _MAX_IDENTIFIER - len(_suffix(self, _MONDAY)):
            return "the table's name is too long for its partitions' names (63 bytes with their date)"
        return None

    def mark(self) -> str:
        """The comment on the table's policy that declares it (see MARK)."""
        return f"{MARK}{self.column}, {self.interval} each, kept {self.retention}"


@dataclass(frozen=True)
class Partition:
    """One partition: a half-open range of time, both ends in UTC."""

    name: str
    begin: datetime
    end: datetime


@dataclass
class Maintenance:
    """What `maintain` did: qualified names made and dropped, and the schemas where it failed with the reason."""

    created: list[str] = dataclasses.field(default_factory=list)
    dropped: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)


def _parse(interval: str) -> tuple[int, str]:
    match = _INTERVAL.match(interval)
    if match is None:
        raise ValueError(f"not an interval: {interval!r}")
    return int(match.group(1)), match.group(2)


def _shortest(interval: str) -> timedelta:
    count, unit = _parse(interval)
    return timedelta(hours=count * _HOURS[unit]) if unit in _HOURS else timedelta(days=28 * count * _MONTHS[unit])


def _add_months(moment: datetime, months: int) -> datetime:
    index = moment.year * 12 + moment.month - 1 + months
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)


def _floor(interval: str, moment: datetime) -> datetime:
    """The beginning of the interval that holds `moment`; the same whenever it is asked."""
    count, unit = _parse(interval)
    if unit in _MONTHS:
        width, month = count * _MONTHS[unit], moment.year * 12 + moment.month - 1
        return _add_months(moment, -(month % width))
    width_of = timedelta(hours=count * _HOURS[unit])
    return _MONDAY + (moment - _MONDAY) // width_of * width_of


def _step(interval: str, begin: datetime, steps: int) -> datetime:
    count, unit = _parse(interval)
    if unit in _MONTHS:
        return _add_months(begin, steps * count * _MONTHS[unit])
    return begin + steps * timedelta(hours=count * _HOURS[unit])


def retained_since(spec: TimeSeries, now: datetime) -> datetime:
    """Partitions that end at or before this moment are past their retention."""
    count, unit = _parse(spec.retention)
    if unit in _HOURS:
        return now - timedelta(hours=count * _HOURS[unit])
    first = _add_months(now, -count * _MONTHS[unit])
    return first + (now - _add_months(now, 0))


def _suffix(spec: TimeSeries, begin: datetime) -> str:
    hourly = _parse(spec.interval)[1] == "hour"
    return begin.strftime("_p%Y%m%d%H" if hourly else "_p%Y%m%d")


def wanted(spec: TimeSeries, now: datetime) -> list[Partition]:
    """The partitions `spec` must have at `now`: the current one and those ahead. `now` needs a time zone."""
    first = _floor(spec.interval, now.astimezone(UTC))
    begins = [_step(spec.interval, first, step) for step in range(spec.premake + 2)]
    return [
        Partition(spec.table + _suffix(spec, begin), begin, end) for begin, end in zip(begins, begins[1:], strict=False)
    ]


def _bound(moment: datetime) -> sql.Literal:
    # With the offset, so that the session's time zone does not matter; `timestamp` and `date` columns ignore it.
    return sql.Literal(moment.strftime("%Y-%m-%d %H:%M:%S+00"))


def partition_ddl(schema: str, spec: TimeSeries, partition: Partition) -> sql.Composed:
    """Statements that make one partition, protected as every table of a tenant is; run them as the schema's owner.

    Indexes, constraints and triggers come from the parent, privileges from the owner's default privileges.
    Where the template brought policies for the parent, the partition itself stays closed to all but the owner: rows
    are reached through the parent, where those policies hold.
    """
    name = sql.Identifier(schema, partition.name)
    owner, rw, ro = (sql.Identifier(f"{schema}_{suffix}") for suffix in ("owner", "rw", "ro"))
    parts = [
        sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
            name, sql.Identifier(schema, spec.table), _bound(partition.begin), _bound(partition.end)
        ),
        sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").format(name),
    ]
    if spec.own_policies:
        policy = "CREATE POLICY tenant_owner ON {} FOR ALL TO {} USING (true) WITH CHECK (true)"
        parts.append(sql.SQL(policy).format(name, owner))
    else:
        policy = "CREATE POLICY tenant_rw ON {} FOR ALL TO {}, {} USING (true) WITH CHECK (true)"
        parts.append(sql.SQL(policy).format(name, owner, rw))
        parts.append(sql.SQL("CREATE POLICY tenant_ro ON {} FOR SELECT TO {} USING (true)").format(name, ro))
    return sql.SQL(";\n").join(parts) + sql.SQL(";\n")


def initial_partitions(schema: str, specs: Sequence[TimeSeries], now: datetime) -> bytes:
    """Statements that give a new schema the partitions it needs at `now`; run them as its owner, after the script.

    Empty when nothing is declared or TimescaleDB makes the partitions. Raises ValueError when `schema` is no
    plain name.
    """
    # No partition is narrower than an hour: within one all schemas get the same.
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return _partitions_of_marker(tuple(specs), hour).replace(_MARKER, check_plain_name(schema)).encode()


@functools.lru_cache(maxsize=64)
def _partitions_of_marker(specs: tuple[TimeSeries, ...], now: datetime) -> str:
    made = [
        partition_ddl(_MARKER, spec, partition)
        for spec in specs
        if not spec.hypertable
        for partition in wanted(spec, now)
    ]
    return sql.Composed(made).as_string()


def _expired(spec: TimeSeries, names: Sequence[str], now: datetime) -> Iterator[str]:
    """Those of a table's partitions, known by the names we gave them, that end before the retention does."""
    shape = re.compile(re.escape(spec.table) + r"_p([0-9]{8})([0-9]{2})?\Z")
    limit = retained_since(spec, now.astimezone(UTC))
    for name in names:
        match = shape.match(name)
        if match is None:  # not ours: left alone
            continue
        begin = datetime.strptime(match.group(1) + (match.group(2) or "00"), "%Y%m%d%H").replace(tzinfo=UTC)
        if _step(spec.interval, begin, 1) <= limit:
            yield name


def _present(
    conn: psycopg.Connection[Any], targets: Sequence[tuple[str, Sequence[TimeSeries]]]
) -> Mapping[tuple[str, str], list[str]]:
    """The partitions of each declared table, by (schema, table); one query for all of them."""
    pairs = [(schema, spec.table) for schema, specs in targets for spec in specs if not spec.hypertable]
    if not pairs:
        return {}
    rows = conn.execute(
        _QUERIES["partitions"], {"schemas": [p[0] for p in pairs], "tables": [p[1] for p in pairs]}, prepare=False
    )
    return {(schema, table): names for schema, table, names in rows.fetchall()}


def _missing(
    schema: str, specs: Sequence[TimeSeries], present: Mapping[tuple[str, str], list[str]], now: datetime
) -> list[tuple[str, sql.Composable]]:
    """The partitions to make: name and statements. Tables that are gone are left to drift checks."""
    return [
        (partition.name, partition_ddl(schema, spec, partition))
        for spec in specs
        if (schema, spec.table) in present
        for partition in wanted(spec, now)
        if partition.name not in present[schema, spec.table]
    ]


def _outdated(
    schema: str, specs: Sequence[TimeSeries], present: Mapping[tuple[str, str], list[str]], now: datetime
) -> list[tuple[str, sql.Composable]]:
    """The partitions to drop: name and statements. Detached first: a foreign key to the table would be in the way, and
    detaching makes sure that no row points to the partition's."""
    drop = sql.SQL("ALTER TABLE {} DETACH PARTITION {};\nDROP TABLE {};\n")
    return [
        (name, drop.format(sql.Identifier(schema, spec.table), *[sql.Identifier(schema, name)] * 2))
        for spec in specs
        if (schema, spec.table) in present
        for name in _expired(spec, present[schema, spec.table], now)
    ]


def maintain(
    conn: psycopg.Connection[Any], targets: Sequence[tuple[str, Sequence[TimeSeries]]], now: datetime
) -> Maintenance:
    """Make the partitions that will be needed and drop those past their retention, for many schemas.

    Idempotent. One query finds what is missing everywhere; then a short transaction for each schema that needs some and
    one for each that has some to drop. What fails (a lock held too long, rows that others still refer to) does not hold
    the rest back: the schema is named in `failed`, with the reason.
    `conn` must be in autocommit mode.
    """
    report = Maintenance()
    present = _present(conn, targets)
    for schema, specs in targets:
        for work, done in ((_missing, report.created), (_outdated, report.dropped)):
            changes = work(schema, specs, present, now)
            if changes and _apply(conn, schema, [ddl for _, ddl in changes], report):
                done += [f"{schema}.{name}" for name, _ in changes]
    return report


def _apply(
    conn: psycopg.Connection[Any], schema: str, statements: Sequence[sql.Composable], report: Maintenance
) -> bool:
    try:
        with as_owner(conn, schema):
            conn.execute(sql.Composed(statements), prepare=False)
    except psycopg.Error as error:
        if conn.closed:
            raise
        report.failed[schema] = error.diag.message_primary or type(error).__name__
        return False
    return True


def hypertables(marker: str, specs: Sequence[TimeSeries], extension_schema: str) -> str:
    """What turns plain tables into TimescaleDB hypertables, for the clone script.

    Chunks live in the tenant's own schema, so that its USAGE protects them and dumps of the schema see their rows.
    """
    function = sql.Identifier(extension_schema)
    call = sql.SQL(
        "SELECT {f}.create_hypertable({table}, {column}, chunk_time_interval => {interval}::interval,"
        " associated_schema_name => {schema}, create_default_indexes => false);\n"
        "SELECT {f}.add_retention_policy({table}, {retention}::interval);\n"
    )
    return "".join(
        call.format(
            f=function,
            table=sql.Literal(sql.Identifier(marker, spec.table).as_string()),
            column=sql.Literal(spec.column),
            interval=sql.Literal(spec.interval),
            schema=sql.Literal(marker),
            retention=sql.Literal(spec.retention),
        ).as_string()
        for spec in specs
    )
