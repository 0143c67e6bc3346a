"""`manage.py list_tenants`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q

from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster, natural, pair
from tenants.management.output import Output, ago
from tenants.models import Tenant
from tenants.models.tenants import on_server


class Command(ControlPlaneCommand):
    help = "List tenants, newest first. Purged ones are shown only with --all or --state purged."
    examples = """
  manage.py list_tenants --state suspended
  manage.py list_tenants --label region=eu --plan business --json | jq -r '.tenants[].slug'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--state", action="append", choices=Tenant.State.values, help="only those in this state (repeatable)"
        )
        parser.add_argument("--all", action="store_true", help="purged ones, too")
        parser.add_argument("--plan", help="only those on this plan")
        parser.add_argument("--cluster", metavar="NAME", help="only those on this cluster")
        parser.add_argument("--label", type=pair, action="append", metavar="KEY=VALUE", help="only those so labelled")
        parser.add_argument("--search", metavar="TEXT", help="only those whose name or slug contains this")
        parser.add_argument("--limit", type=natural, default=100, help="how many at most (default: 100)")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = Tenant.objects.select_related("plan", "cluster__host_cluster")
        if options["state"]:
            rows = rows.filter(state__in=options["state"])
        elif not options["all"]:
            rows = rows.exclude(state=Tenant.State.PURGED)
        if options["plan"]:
            rows = rows.filter(plan__slug=options["plan"])
        if options["cluster"]:
            rows = rows.filter(on_server(find_cluster(options["cluster"])))
        if options["label"]:
            rows = rows.filter(labels__contains=dict(options["label"]))
        if text := options["search"]:
            rows = rows.filter(Q(name__icontains=text) | Q(slug__icontains=text))
        return {"count": rows.count(), "tenants": [represent.tenant(row) for row in rows[: options["limit"]]]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["slug", "name", "state", "plan", "cluster", "template", "age", "labels", "id"],
            [
                [row["slug"], row["name"], row["state"], row["plan"], row["cluster"],
                 f"{row['template']} v{row['template_version']}", ago(row["created_at"]), row["labels"], row["id"]]
                for row in document["tenants"]
            ],
        )  # fmt: skip
        out.line(f"{len(document['tenants'])} of {document['count']} tenants", style="dim")
