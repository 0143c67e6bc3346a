"""The benchmark measures what it says it does, and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests.commands.support import manage
from tests.support.databases import maintenance


@pytest.mark.timeout(300)
def test_bench_audit_measures_and_leaves_nothing() -> None:
    ran = manage(
        "bench_audit", "--events", "6000", "--sealed", "4000", "--writers", "4", "--seconds", "2", "--turns", "1",
        "--json", timeout=280,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = ran.document
    wrote = found["writing"]
    assert {row["writers"] for name, row in wrote.items() if name.startswith("with")} == {4}
    assert all(row["per_second"] > 0 for row in wrote.values())
    assert wrote["with_log_and_sealer"]["sealed"] == wrote["with_log_and_sealer"]["changes"]
    assert found["chain"]["sealed"] == 4000
    changes = sum(row["changes"] for name, row in wrote.items() if "with_log" in name)
    assert found["chain"]["verified"] >= 4000 + changes
    assert found["events"] >= 6000 + changes
    assert len(found["pages"]["by_filter"]) == found["pages"]["pages"] >= 15
    assert [row["limit"] for row in found["goals"]] == [500, 5, 10_000, 300]
    with maintenance() as session:
        left = session.execute("SELECT count(*) FROM pg_database WHERE starts_with(datname, 'cpbench_audit_')")
        assert left.fetchone() == (0,)
