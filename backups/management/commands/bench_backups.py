"""`manage.py bench_backups`: what backups and restores cost, beside pg_dump and pg_restore."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser

from backups.bench import measure, place
from backups.bench.measure import Options, Samples
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output

MEMORY_MB, TIMES_FASTER = 200, 10


class Command(ControlPlaneCommand):
    help = (
        "Measure backups in one run, in a database of its own, which is dropped at the end: a tenant of realistic "
        "ticks, orders and jsonb, taken and restored by us (encryption and checksums included) and by pg_dump and "
        "pg_restore, beside what server and disk can do at best; then a night of many small tenants. Medians of "
        "rounds in turns. "
        "Needs SUPERUSER_DATABASE_URL: on durable servers of its own, make bench-backups."
    )
    examples = """
  manage.py bench_backups
  manage.py bench_backups --size 64 --tenants 50 --rounds 1 --json
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--size", type=natural, default=1024, help="MB of the big tenant's tables (default 1024)")
        parser.add_argument("--tenants", type=natural, default=1000, help="small ones (default 1000)")
        parser.add_argument("--sample", type=natural, default=20, help="of them by pg_dump (default 20)")
        parser.add_argument("--rounds", type=natural, default=3, help="of the big tenant (default 3)")
        parser.add_argument("--workers", type=natural, default=2, help="sessions at once, ours and theirs (default 2)")

    def run(self, **options: Any) -> dict[str, Any]:
        given = Options(*(options[name] for name in ("size", "tenants", "sample", "rounds", "workers")))
        with place.opened() as found:
            with found.admin() as connection:
                row = connection.execute(
                    "SELECT current_setting('server_version'), current_setting('fsync')"
                ).fetchone()
            facts, samples = measure.big(found, given, self.out.remark)
            night = measure.small(found, given, self.out.remark)
        version, fsync = row or ("", "")
        return {
            "postgresql": version, "fsync": fsync, "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
            "big": {**facts, "rows": samples.rows()}, "small": night, "goals": goals(samples, night, given.workers),
        }  # fmt: skip

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        facts = {key: document[key] for key in ("postgresql", "fsync", "cpus", "load")}
        out.facts("backups", {**facts, **{k: v for k, v in document["big"].items() if k != "rows"}})
        columns = ["median_s", "min_s", "max_s", "stored_bytes", "peak_mb"]
        rows = document["big"]["rows"]
        out.table(["", *columns], [[row["what"], *(row.get(name, "") for name in columns)] for row in rows])
        out.facts("small tenants", document["small"])
        out.table(
            ["goal", "measured", "limit", ""],
            [[goal["goal"], goal["measured"], goal["limit"], goal["said"]] for goal in document["goals"]],
        )


def goals(samples: Samples, night: dict[str, Any], workers: int) -> list[dict[str, Any]]:
    """What is promised, and what was found; what could not be measured says so."""
    backup, restore = samples.median("backup, ours"), samples.median("restore, ours")
    found = [
        _share("backup / pg_dump gzip", backup, samples.median(f"backup, pg_dump -Fd -j{workers} gzip"), 0.5),
        _share("backup / pg_dump zstd:1", backup, samples.median(f"backup, pg_dump -Fd -j{workers} zstd:1"), 1.15),
        _share("restore / pg_restore zstd:1", restore, samples.median(f"restore, pg_restore -j{workers} zstd:1"), 0.9),
        _share("restore / pg_restore gzip", restore, samples.median(f"restore, pg_restore -j{workers} gzip"), 0.9),
        _goal("small tenants: times faster than pg_dump", night["times_faster"], TIMES_FASTER, more=True),
        _goal("1 GB backup, s (seed)", backup, 30),
        _goal("1 GB restore, s (seed)", restore, 45),
    ]
    peaks = [facts["peak_mb"] for facts in samples.facts.values() if "peak_mb" in facts] + [night["peak_mb"]]
    return [*found, _goal("memory at most, MB", max(peaks), MEMORY_MB)]


def _share(name: str, ours: float | None, theirs: float | None, limit: float) -> dict[str, Any]:
    return _goal(name, round(ours / theirs, 2) if ours and theirs else None, limit)


def _goal(name: str, measured: float | None, limit: float, *, more: bool = False) -> dict[str, Any]:
    if measured is None:
        return {"goal": name, "measured": None, "limit": limit, "met": None, "said": "not measured here"}
    met = measured >= limit if more else measured <= limit
    return {"goal": name, "measured": measured, "limit": limit, "met": met, "said": "met" if met else "MISSED"}
