"""`manage.py list_backups`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.models import Backup
from backups.services import due
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_tenant, natural
from tenants.management.output import Output, ago


class Command(ControlPlaneCommand):
    help = (
        "List backups, newest first: what they hold, when they were last read back and last proven by a restore. "
        "--overdue lists tenants instead, whose last good backup is older than their policy allows."
    )
    examples = """
  manage.py list_backups --tenant shop
  manage.py list_backups --overdue
  manage.py list_backups --state failed --json | jq -r '.backups[].error'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG|ID", help="only those of this tenant")
        parser.add_argument("--state", choices=Backup.State.values, help="only those in this state")
        parser.add_argument("--overdue", action="store_true", help="tenants without a backup that is new enough")
        parser.add_argument("--limit", type=natural, default=50, help="how many at most (default: 50)")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["overdue"]:
            late = due.overdue()
            return {"count": late.count(), "overdue": [self._late(row) for row in late[: options["limit"]]]}
        rows = Backup.objects.prefetch_related("copies__storage").defer("proof")
        if options["tenant"]:
            rows = rows.filter(origin_id=find_tenant(options["tenant"]).pk)
        if options["state"]:
            rows = rows.filter(state=options["state"])
        return {"count": rows.count(), "backups": [represent.backup(row) for row in rows[: options["limit"]]]}

    def _late(self, status: Any) -> dict[str, Any]:
        return {
            "tenant": {"id": str(status.tenant_id), "slug": status.tenant.slug}, "overdue_since": status.overdue_at,
            "covered_until": status.covered_until, "next_at": status.next_at, "failures": status.failures,
            "last_error": status.last_error,
        }  # fmt: skip

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        if options["overdue"]:
            out.table(
                ["tenant", "overdue for", "last good", "failures", "next", "error"],
                [
                    [row["tenant"]["slug"], ago(row["overdue_since"]), row["covered_until"], row["failures"],
                     row["next_at"], row["last_error"]]
                    for row in document["overdue"]
                ],
            )  # fmt: skip
            out.line(f"{document['count']} tenants are overdue", style="dim")
            return
        represent.print_backups(document["backups"], out)
        out.line(f"{len(document['backups'])} of {document['count']} backups", style="dim")
