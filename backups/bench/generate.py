"""The tenants that are measured: one of any size, and many small ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg import Connection

BIG = Path(__file__).with_name("big")
SMALL_TABLES, SMALL_ROWS = 30, 4

# What is inserted for each megabyte of the big tenant's tables (times `n`): rows, and an expression for each column.
# Random, but the same each time; as compressible as real ones: prices walk, times ascend, words repeat.
_ROWS: list[tuple[str, int, str]] = [
    ("orders", 900, "n, 1 + n % 5000, 1 + n % 500, md5(n::text), (ARRAY['buy', 'sell'])[1 + n % 2],"
     " (ARRAY['open', 'filled', 'filled', 'cancelled', 'partially_filled'])[1 + n % 5], round((random() * 1000)::numeric, 4),"
     " round((100 + 50 * sin(n / 5000.0) + random())::numeric, 6), timestamptz '2026-01-01' + n * interval '23 ms',"
     " timestamptz '2026-01-01' + n * interval '23 ms' + random() * interval '1 hour',"
     " CASE WHEN n % 10 = 0 THEN 'by algorithm ' || n % 37 END"),
    ("executions", 1100, "n, 1 + n % ({n} * 900), round((random() * 100)::numeric, 4), round((100 + random() * 50)::numeric, 6),"
     " (ARRAY['XNAS', 'XNYS', 'CRYPTO'])[1 + n % 3], 'T' || md5((n * 3)::text), timestamptz '2026-01-01' + n * interval '19 ms'"),
    ("ledger_lines", 1300, "n, 1 + n % 5000, (ARRAY['USD', 'EUR', 'BTC'])[1 + n % 3], round((random() * 10000 - 5000)::numeric, 4),"
     " timestamptz '2026-01-01' + n * interval '17 ms', 'execution ' || n / 2"),
    ("candles", 600, "1 + n % 500, '1m', timestamptz '2026-01-01' + (n / 500) * interval '1 min', 100 + random(), 101 + random(),"
     " 99 + random(), 100 + random(), round((random() * 100000)::numeric, 4)"),
    *[
        (f"ticks_{name}", 1150, "n, 1 + (random() * 499)::int, timestamptz '2026-01-01' + n * interval '11 ms',"
         " round((100 + 20 * sin(n / 9000.0) + random())::numeric, 6), round((random() * 10)::numeric, 4),"
         " (ARRAY['buy', 'sell'])[1 + (random() > 0.5)::int]")
        for name in "abcde"
    ],
]  # fmt: skip
_EVENTS = (
    "INSERT INTO order_events (order_id, at, body) SELECT n, timestamptz '2026-01-01' + n * interval '23 ms',"
    " jsonb_build_object('type', (ARRAY['new', 'ack', 'fill'])[1 + n % 3], 'order', n, 'price', round((random() * 200)::numeric, 4),"
    " 'venue', jsonb_build_object('code', 'XNAS', 'latency_us', (random() * 900)::int), 'tags', jsonb_build_array('a', n % 7),"
    " 'trace', md5(n::text)) FROM generate_series(1, {n} * 450) n"
)


def fill(connection: Connection[Any], schema: str, megabytes: int) -> None:
    """Give the big tenant about so many megabytes of tables (indexes come on top)."""
    connection.execute(f'SET search_path = "{schema}"; SET synchronous_commit = off; SELECT setseed(0.42)')
    connection.execute("INSERT INTO instruments SELECT n, 'SYM' || n, 0.01 FROM generate_series(1, 500) n")
    connection.execute(
        "INSERT INTO accounts SELECT n, 'ACC-' || n, 'Account ' || md5(n::text), timestamptz '2025-01-01' + n * interval '7 min'"
        " FROM generate_series(1, 5000) n"
    )
    for table, rows, columns in _ROWS:
        values = columns.replace("{n}", str(megabytes))
        connection.execute(
            f"INSERT INTO {table} SELECT {values} FROM generate_series(1, {megabytes} * {rows}) n".encode()
        )
    connection.execute(_EVENTS.replace("{n}", str(megabytes)).encode())
    connection.execute("RESET search_path")


def small_template(directory: Path) -> Path:
    """A template of 30 tables with a few rows each, as files."""
    tables = [
        f"CREATE TABLE t{n} (id integer PRIMARY KEY, name text NOT NULL, amount numeric, at timestamptz, data jsonb);\n"
        f"CREATE INDEX ON t{n} (name);\n"
        f"INSERT INTO t{n} SELECT g, 'name ' || g, g / 3.0, timestamptz '2026-01-01' + g * interval '1 day',"
        f" jsonb_build_object('n', g) FROM generate_series(1, {SMALL_ROWS}) g;\n"
        for n in range(1, SMALL_TABLES + 1)
    ]
    directory.mkdir()
    (directory / "10_tables.sql").write_text("".join(tables), encoding="utf-8")
    return directory
