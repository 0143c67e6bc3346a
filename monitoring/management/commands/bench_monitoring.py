"""`manage.py bench_monitoring`: what it costs to look at a fleet, to write down what is seen, and to roll it up."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from monitoring.bench import measure
from monitoring.bench.fleet import fleet
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output

SWEEP_SECONDS, SWEEP_QUERIES = 5, 20


class Command(ControlPlaneCommand):
    help = (
        "Measure monitoring in one run, in a database of its own beside the control plane's, which is dropped at the "
        "end: full sweeps of fleets of these sizes, how fast samples are written (COPY against bulk_create, in turns), "
        "how fast they are rolled up, and, with days of samples of the largest fleet, how long a tenant's health, "
        "/metrics, /metrics/tenants, the boards and one evaluation of all alert rules take. Statements are measured "
        "too where SUPERUSER_DATABASE_URL is given, as on embedded servers. On durable servers: make bench-monitoring."
    )
    examples = """
  manage.py bench_monitoring
  manage.py bench_monitoring --tenants 200 --tables 5 --rounds 3 --days 30 --json
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tenants", type=natural, action="append", metavar="N", help="size of a fleet (default 1000 and 2000)"
        )
        parser.add_argument("--tables", type=natural, default=20, help="of each tenant (default 20)")
        parser.add_argument("--rounds", type=natural, default=5, help="sweeps that count (default 5)")
        parser.add_argument("--calls", type=natural, default=200, help="of a tenant's health (default 200)")
        parser.add_argument(
            "--days", type=natural, default=2,
            help="of samples that the boards are asked with (default 2); 2,000 tenants leave 4.6 million rows a day",
        )  # fmt: skip

    def run(self, **options: Any) -> dict[str, Any]:
        sizes = sorted(options["tenants"] or [1000, 2000])
        with fleet(options["tables"], self.out.remark) as made:
            swept, more = [], {}
            for number in sizes:
                made.grow(number)
                self.out.remark(f"sweeping {number:,} tenants …")
                swept.append(measure.sweeps(made, options["rounds"]))
                self.out.remark(f"{swept[-1]['median_seconds']} s: {swept[-1]['median_ms']} ms")
            self.out.remark("writing …")
            wrote = measure.ingest(made)
            self.out.remark("rolling up …")
            rolled = measure.rolling(made)
            self.out.remark(f"making up samples of {options['days']} days …")
            past = measure.past(made, options["days"])
            for name, further in measure.MORE.items():
                self.out.remark(f"{name} …")
                more[name] = further(made, options["calls"])
            return {
                **self._facts(), "statements_counted": made.counts_statements, "sweeps": swept, "writing": wrote,
                "rolling_up": rolled, "samples": past, **more,
                "goals": [*self._goals(swept), *self._goals_of_more(more)],
            }  # fmt: skip

    def _facts(self) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version'), current_setting('fsync')")
            version, fsync = cursor.fetchone()
        return {"postgresql": version, "fsync": fsync, "load": round(os.getloadavg()[0], 1), "cpus": os.cpu_count()}

    def _goals(self, swept: list[dict[str, Any]]) -> list[dict[str, Any]]:
        goals = []
        for row in swept:
            for name, key, limit in (
                ("seconds of a sweep", "median_seconds", SWEEP_SECONDS),
                ("statements of a sweep", "queries", SWEEP_QUERIES),
            ):
                title = f"{row['tenants']:,} tenants: {name}"
                goals.append({"goal": title, "measured": row[key], "limit": limit, "met": row[key] <= limit})
        return goals

    def _goals_of_more(self, more: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        return [
            {
                "goal": f"{name}: ms of {row['what']} (p95)", "measured": row["p95_ms"], "limit": row["goal_ms"],
                "met": row["p95_ms"] <= row["goal_ms"],
            }
            for name, rows in more.items()
            for row in rows
        ]  # fmt: skip

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        facts = ("postgresql", "fsync", "cpus", "load", "statements_counted")
        out.facts("monitoring", {key: document[key] for key in facts})
        columns = ["tenants", "tables", "first_seconds", "median_seconds", "slowest_seconds", "queries", "rows"]
        probes = list(document["sweeps"][0]["median_ms"])
        out.table(
            [*(name.replace("_", " ") for name in columns), *(f"{name} ms" for name in probes)],
            [[*(row[name] for name in columns), *row["median_ms"].values()] for row in document["sweeps"]],
        )
        out.facts("writing", document["writing"])
        out.facts("rolling up", document["rolling_up"])
        out.facts("samples", document["samples"])
        for name in measure.MORE:
            columns = ["what", "calls", "queries", "p50_ms", "p95_ms"]
            heads = [name.replace("_", " "), "calls", "queries", "p50 ms", "p95 ms"]
            out.table(heads, [[row[column] for column in columns] for row in document[name]])
        out.table(
            ["goal", "measured", "limit", ""],
            [
                [row["goal"], row["measured"], row["limit"], "met" if row["met"] else "MISSED"]
                for row in document["goals"]
            ],
        )
