"""`manage.py check_clusters`."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser

from tenants import clusters
from tenants.exceptions import ClusterUnavailable, ControlPlaneError
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster
from tenants.management.output import Output
from tenants.models import Cluster


class Command(ControlPlaneCommand):
    help = (
        "Connect to every cluster (or the named ones) and read its version, rights, extensions and isolation level "
        "again: the level is what its catalog shows now, whatever was prepared once. The result is noted on the "
        "cluster. Ends with 5 when any of them cannot be used."
    )
    examples = """
  manage.py check_clusters
  manage.py check_clusters eu-2 --json | jq '.clusters[] | select(.ok | not)'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="the clusters to check (default: all)")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = [find_cluster(name) for name in options["names"]] or list(Cluster.objects.all())
        found = []
        with self.out.progress("checking", total=len(rows)) as bar:
            for count, row in enumerate(rows, start=1):
                bar.update(description=row.name)
                found.append(self._check(row))
                bar.update(completed=count)
        if bad := [each["name"] for each in found if not each["ok"]]:
            self.failure = ClusterUnavailable(f"{len(bad)} of {len(found)} clusters cannot be used: {', '.join(bad)}.")
        return {"clusters": found}

    def _check(self, row: Cluster) -> dict[str, Any]:
        begun, error = time.monotonic(), None
        try:
            row = clusters.check_cluster(row)
        except ControlPlaneError as refusal:
            error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
        return {
            **represent.cluster(row),
            "ok": error is None,
            "error": error,
            "seconds": round(time.monotonic() - begun, 3),
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["cluster", "health", "state", "address", "PostgreSQL", "isolation", "extensions", "seconds", "error"],
            [
                [row["name"], "well" if row["ok"] else "failed", row["state"],
                 f"{row['host']}:{row['port']}/{row['dbname']}", row["server_version"], row["isolation_level"],
                 len(row["extensions"]), row["seconds"], (row["error"] or {}).get("message")]
                for row in document["clusters"]
            ],
        )  # fmt: skip
        for row in document["clusters"]:
            for warning in row["warnings"]:
                out.line(f"{row['name']}: {warning}", style="yellow")
