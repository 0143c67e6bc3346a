"""`manage.py bench_backups`, small: it measures everything it promises, and leaves nothing."""

from __future__ import annotations

import io
import json
import os

import psycopg
import pytest
from django.core.management import CommandError, call_command


def everything() -> set[str]:
    """The server's databases and roles, other tests' aside."""
    names = "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles"
    with psycopg.connect(os.environ["SUPERUSER_DATABASE_URL"], autocommit=True) as connection:
        return {row[0] for row in connection.execute(names)}


def test_a_small_run_measures_both_and_leaves_nothing() -> None:
    out, before = io.StringIO(), everything()
    call_command(
        "bench_backups", "--size", "4", "--tenants", "4", "--sample", "2", "--rounds", "1", "--json", stdout=out
    )
    document = json.loads(out.getvalue())
    rows = {row["what"]: row for row in document["big"]["rows"]}
    assert {"backup, ours", "verify, ours", "restore, ours", "limit: server COPY to null, binary"} <= set(rows)
    assert any("pg_dump" in name for name in rows)
    assert any("pg_restore" in name for name in rows)
    assert all(row["median_s"] > 0 for row in rows.values())
    assert rows["backup, ours"]["rows"] > 30_000
    assert document["small"]["tenants"] == 4
    assert document["small"]["pg_dump_sample"] == 2
    assert {goal["said"] for goal in document["goals"]} <= {"met", "MISSED", "not measured here"}
    left = everything() - before
    # Other workers make tenants meanwhile, whose names are as random; groups of databases are told by their database.
    assert not [name for name in left if name.startswith("cpbench_backups")]
    if "PYTEST_XDIST_WORKER" not in os.environ:
        assert left == set()


def test_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERUSER_DATABASE_URL")
    with pytest.raises(CommandError, match="make bench-backups"):
        call_command("bench_backups", stdout=io.StringIO())
