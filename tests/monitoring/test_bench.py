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
        "--days",
        "1",
        "--calls",
        "3",
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
    assert found["samples"]["rows"] > 30 * 1440
    parts = {name: found[name] for name in ("health", "prometheus", "boards", "alert_rules")}
    for name, rows in parts.items():
        for row in rows:
            assert 0 < row["p50_ms"] <= row["p95_ms"], (name, row)
            assert row["goal_ms"] > 0
    assert [(row["what"], row["calls"]) for row in found["health"]] == [("/tenants/{id}/health", 3)]
    assert {row["what"] for row in found["prometheus"]} == {"/metrics", "/metrics, read anew", "/metrics/tenants"}
    assert all(row["queries"] for row in found["prometheus"] if row["what"] != "/metrics")  # that one is kept
    assert len(found["boards"]) == 5 + 3 * 5
    assert all(row["queries"] for row in [*found["health"], *found["boards"], *found["alert_rules"]])
    limits = [row["limit"] for row in found["goals"]]
    assert limits == [5, 20, 5, 20, *(row["goal_ms"] for rows in parts.values() for row in rows)]
    with maintenance() as session:
        left = session.execute("SELECT count(*) FROM pg_database WHERE starts_with(datname, 'cpbench_monitoring_')")
        assert left.fetchone() == (0,)
