"""`manage.py backup_tenant`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.models import Backup
from backups.services import take
from backups.services.storages import get_storage
from tenants.management import represent as tenants_represent
from tenants.management.lookup import find_tenant, natural
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand


class Command(OperationCommand):
    help = (
        "Take a backup of one tenant now: its rows under one snapshot, compressed and encrypted, read back before it "
        "counts. The tenant's work goes on meanwhile. A worker does it; its policy decides how long it is kept, unless "
        "--keep-days or --pin say otherwise."
    )
    examples = """
  manage.py backup_tenant shop --note "before the migration" --wait
  manage.py backup_tenant shop --keep-days 365 --here --json | jq .backup.id
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG|ID", help="the tenant")
        parser.add_argument("--note", default="", help="why, for people")
        parser.add_argument("--keep-days", type=natural, metavar="DAYS", help="its own retention")
        parser.add_argument("--pin", action="store_true", help="keep it until somebody takes this away")
        parser.add_argument("--storage", metavar="NAME", help="where to (default: what its policy says)")
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        asked = take.backup_tenant(
            tenant_id=find_tenant(options["tenant"]).pk,
            note=options["note"],
            keep_days=options["keep_days"],
            pinned=options["pin"],
            storage=get_storage(options["storage"]) if options["storage"] else None,
            **self.caller,
        )
        operation = asked.operation
        if self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
        backup = Backup.objects.prefetch_related("copies__storage").get(pk=asked.backup.pk)
        return {"backup": represent.backup(backup), "operation": tenants_represent.operation(operation)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        backup, operation = document["backup"], document["operation"]
        if backup["state"] == Backup.State.RUNNING:
            out.line(f"The backup {backup['id']} is {operation['state']}: manage.py show_operation {operation['id']}")
            return
        out.facts(
            f"Backup of {backup['tenant']['slug']}",
            {
                "id": backup["id"], "of": backup["snapshot_at"], "rows": backup["rows"],
                "size": f"{represent.size(backup['raw_bytes'])}, stored {represent.size(backup['stored_bytes'])}",
                "seconds": backup["seconds"], "in": ", ".join(copy["storage"] for copy in backup["copies"]),
            },
        )  # fmt: skip
