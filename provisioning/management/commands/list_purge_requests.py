"""`manage.py list_purge_requests`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning.models import PurgeRequest
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = """Show the purges that wait for a second person: who asked, why, and until when they wait."""
    examples = """
  manage.py list_purge_requests
  manage.py list_purge_requests --all --json
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="those that were decided or have expired, too")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = PurgeRequest.objects.select_related("tenant")
        if not options["all"]:
            rows = rows.filter(state=PurgeRequest.State.WAITING)
        return {
            "purge_requests": [
                {
                    "id": str(row.pk), "tenant": row.tenant.slug, "state": row.state, "reason": row.reason,
                    "requested_by": row.requested_by, "expires_at": row.expires_at, "decided_by": row.decided_by,
                }
                for row in rows[:500]
            ]
        }  # fmt: skip

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        for row in document["purge_requests"]:
            facts = {name: row[name] for name in ("state", "requested_by", "reason", "expires_at", "decided_by")}
            out.facts(f"{row['tenant']} {row['id']}", facts)
        if not document["purge_requests"]:
            out.line("None waits.")
