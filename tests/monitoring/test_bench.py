"""The benchmark measures what it says it does, and leaves nothing behind. Never how fast anything was."""

from __future__ import annotations

import pytest

from tests.commands.support import manage
from tests.support.databases import maintenance


@pytest.mark.timeout(300)
def test_bench_monitoring_measures_and_leaves_nothing() -> None:
    ran = manage(
        "bench_monitoring",
        "--tenants",
        "15",
        "--tenants",
        "30",
        "--tables",
        "3",
        "--rounds",
        "2",
        "--json",
        timeout=280,
    )
    assert ran.code == 0, ran.err
    found = ran.document
    assert [row["tenants"] for row in found["sweeps"]] == [15, 30]
    assert [row["rows"] for row in found["sweeps"]] == [31, 61]
    # The size of the whole server is looked at every five minutes.
    assert {row["queries"] for row in found["sweeps"]} <= {12, 13}
    assert set(found["sweeps"][0]["median_ms"]) == {"activity", "server", "sizes"}
    assert found["writing"]["copy_rows_per_second"] > 0
    assert found["writing"]["bulk_create_rows_per_second"] > 0
    assert found["rolling_up"]["samples"] == 30 * 120
    assert [row["limit"] for row in found["goals"]] == [5, 20, 5, 20]
    with maintenance() as session:
        left = session.execute("SELECT count(*) FROM pg_database WHERE starts_with(datname, 'cpbench_monitoring_')")
        assert left.fetchone() == (0,)
