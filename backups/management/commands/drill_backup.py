"""`manage.py drill_backup`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.models import RestoreDrill
from backups.services import drills
from tenants.management import represent as tenants_represent
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand


class Command(OperationCommand):
    help = (
        "Prove a backup by restoring it into a scratch schema: its fingerprint, its rows and the content of every "
        "table are compared with the snapshot's, the time is measured, and the scratch schema is dropped. No tenant "
        "notices. Beat does this in turn for all tenants (drill_every_days of their policies)."
    )
    examples = """
  manage.py drill_backup 6f0c1c1e-… --wait
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backup", metavar="ID", help="the backup")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        backup = represent.find_backup(options["backup"])
        begun = drills.run_drill(backup=backup, reason=options["reason"], **self.caller)
        operation = begun.operation
        if self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
        row = RestoreDrill.objects.get(pk=begun.drill.pk)
        return {
            "drill": {"id": str(row.pk), "backup": str(backup.pk), "state": row.state, "rows": row.rows,
                      "bytes": row.bytes, "seconds": row.seconds, "checks": row.checks, "error": row.error},
            "operation": tenants_represent.operation(operation),
        }  # fmt: skip

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        drill, operation = document["drill"], document["operation"]
        if drill["state"] != RestoreDrill.State.SUCCEEDED:
            out.line(f"The drill is {drill['state']}: manage.py show_operation {operation['id']}")
            return
        out.line(
            f"Proven: {drill['rows']:,} rows, {represent.size(drill['bytes'])}, restored in {drill['seconds']:.1f} s;"
            " fingerprint, rows and content are those of the snapshot."
        )
