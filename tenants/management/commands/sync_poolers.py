"""`manage.py sync_poolers`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import pooling
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_poolers
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Write what plans and tenants say into the file that each pooler includes (pool sizes, client limits, where "
        "the server is), and have PgBouncer read it again. Clients and their transactions go on. Nothing is done "
        "where the file is right already; beat does the same every few seconds.\n\n"
        "With --dry-run the files are printed and nothing is written: also for poolers whose file somebody else keeps."
    )
    examples = """
  manage.py sync_poolers
  manage.py sync_poolers eu-2 --dry-run
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="CLUSTER", help="whose poolers (default: all with a file)")
        parser.add_argument("--dry-run", action="store_true", help="print the files, change nothing")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = find_poolers(options["names"])
        if options["dry_run"]:
            return {"poolers": [{"cluster": row.cluster.name, "text": pooling.included_text(row)} for row in rows]}
        wanted = [row for row in rows if row.config_path or options["names"]]
        applied = [pooling.sync_pooler(row, **self.caller) for row in wanted]
        return {
            "poolers": [
                {
                    "cluster": each.pooler.cluster.name,
                    "config_path": each.pooler.config_path,
                    "logins_with_own_limits": each.logins,
                    "changed": each.changed,
                    "applied_at": each.pooler.applied_at,
                }
                for each in applied
            ]
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if options["dry_run"]:
            for row in document["poolers"]:
                out.line(f"; {row['cluster']}")
                out.line(row["text"])
            return
        out.table(
            ["cluster", "file", "logins with own limits", "written"],
            [
                [row["cluster"], row["config_path"], row["logins_with_own_limits"], row["changed"]]
                for row in document["poolers"]
            ],
        )
