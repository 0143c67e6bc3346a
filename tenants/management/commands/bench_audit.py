"""`manage.py bench_audit`: what the audit log costs, and how fast it is read."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from tenants.ledger.bench import place, reading, writing
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import many, natural
from tenants.management.output import Output
from tenants.models import AuditEvent

# What is promised: (row, number, whether more is better, limit).
GOALS = (
    ("50 writers: audited changes a second", "changes_per_second", True, 500),
    ("seconds until an event is sealed, at most", "unsealed_for_at_most_s", False, 5),
    ("events verified a second", "verified_per_second", True, 10_000),
    ("p95 of a review page, ms", "page_p95_ms", False, 300),
)


class Command(ControlPlaneCommand):
    help = (
        "Measure the audit log in one run, in a database of its own beside the control plane's, which is dropped at "
        "the end: the same changes without the log, with it, and with it while a sealer chains it; sealing and "
        "verifying a long log; and whole pages of the review screen over it, by filter. On durable servers: "
        "make bench-audit."
    )
    examples = """
  manage.py bench_audit
  manage.py bench_audit --events 10000000 --sealed 1000000
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--events", type=many, default=1_000_000, help="in the log for the pages (default 1e6)")
        parser.add_argument("--sealed", type=many, default=200_000, help="of them sealed and verified (default 2e5)")
        parser.add_argument("--writers", type=natural, default=50, help="at once (default 50)")
        parser.add_argument("--seconds", type=natural, default=10, help="they write, each time (default 10)")
        parser.add_argument("--turns", type=natural, default=10, help="of each page (default 10)")

    def run(self, **options: Any) -> dict[str, Any]:
        with place.registry() as environment:
            self.out.remark("writing …")
            wrote = writing.measure(writers=options["writers"], seconds=options["seconds"], environment=environment)
            sealed = min(options["sealed"], options["events"])
            self.out.remark(f"filling {sealed:,} …")
            reading.fill(1, sealed, options["events"])
            read = reading.seal_and_verify(self.out.remark)
            self.out.remark(f"filling {options['events']:,} …")
            reading.fill(sealed + 1, options["events"], options["events"])
            reading.settle()
            self.out.remark("turning pages …")
            turned = reading.pages(options["turns"])
            goals = self._goals(wrote, read, turned)
            return {**self._facts(), "writing": wrote, "chain": read, "pages": turned, "goals": goals}

    def _facts(self) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version'), current_setting('fsync')")
            version, fsync = cursor.fetchone()
        load = round(os.getloadavg()[0], 1)
        return {"postgresql": version, "fsync": fsync, "load": load, "events": AuditEvent.objects.count()}

    def _goals(self, wrote: dict[str, Any], read: dict[str, Any], turned: dict[str, Any]) -> list[dict[str, Any]]:
        numbers = {
            "changes_per_second": wrote["with_log_and_sealer"]["per_second"],
            "unsealed_for_at_most_s": wrote["with_log_and_sealer"]["unsealed_for_at_most_s"],
            "verified_per_second": read["verified_per_second"],
            "page_p95_ms": turned["p95_ms"],
        }
        return [
            {"goal": name, "measured": numbers[key], "limit": limit,
             "met": numbers[key] >= limit if more else numbers[key] <= limit}
            for name, key, more, limit in GOALS
        ]  # fmt: skip

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts("audit log", {key: document[key] for key in ("postgresql", "fsync", "load", "events")})
        columns = ["writers", "changes", "per_second", "median_ms", "p95_ms"]
        out.table(["", *columns], [[name, *(row[key] for key in columns)] for name, row in document["writing"].items()])
        out.facts("chain", document["chain"])
        out.table(
            ["page", "median ms", "max ms"],
            [[name, row["median_ms"], row["max_ms"]] for name, row in document["pages"]["by_filter"].items()],
        )
        goals = document["goals"]
        out.table(
            ["goal", "measured", "limit", ""],
            [[row["goal"], row["measured"], row["limit"], "met" if row["met"] else "MISSED"] for row in goals],
        )
