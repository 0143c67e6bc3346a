"""`manage.py list_operations`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster, find_tenant, natural
from tenants.management.output import Output, ago
from tenants.models import Operation
from tenants.models.operations import OPEN_STATES


class Command(ControlPlaneCommand):
    help = "List operations, newest first: what is being done, what was done, what failed and why."
    examples = """
  manage.py list_operations --open
  manage.py list_operations --tenant shop --limit 5
  manage.py list_operations --state failed --json | jq -r '.operations[].id'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG|ID", help="only those on this tenant")
        parser.add_argument("--cluster", metavar="NAME", help="only those on this cluster")
        parser.add_argument("--kind", help="only those of this kind, e.g. tenant.provision")
        parser.add_argument(
            "--state", action="append", choices=Operation.State.values, help="only those in this state (repeatable)"
        )
        parser.add_argument("--open", action="store_true", help="only those that are not over")
        parser.add_argument("--limit", type=natural, default=50, help="how many at most (default: 50)")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = Operation.objects.select_related("tenant", "cluster")
        if options["tenant"]:
            rows = rows.filter(tenant=find_tenant(options["tenant"]))
        if options["cluster"]:
            rows = rows.filter(cluster=find_cluster(options["cluster"]))
        if options["kind"]:
            rows = rows.filter(kind=options["kind"])
        if options["state"]:
            rows = rows.filter(state__in=options["state"])
        if options["open"]:
            rows = rows.filter(state__in=OPEN_STATES)
        return {"count": rows.count(), "operations": [represent.operation(row) for row in rows[: options["limit"]]]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["id", "kind", "tenant", "state", "%", "seconds", "age", "by", "error"],
            [
                [row["id"], row["kind"], (row["tenant"] or {}).get("slug"), row["state"], row["progress"],
                 row["seconds"], ago(row["created_at"]), row["actor"]["label"], (row["error"] or {}).get("message")]
                for row in document["operations"]
            ],
        )  # fmt: skip
        out.line(f"{len(document['operations'])} of {document['count']} operations", style="dim")
