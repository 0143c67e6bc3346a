"""`manage.py base_backup`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.pitr import services
from tenants.management import represent as tenants_represent
from tenants.management.lookup import find_cluster
from tenants.management.output import Output
from tenants.management.waiting import OperationCommand


class Command(OperationCommand):
    help = (
        "Take a base backup of a cluster's whole server with pgBackRest, from which (with the WAL archived since) "
        "single tenants are brought back to a moment. Beat takes them by schedule; this one is for now. Base "
        "backups beyond --keep-full of archive_cluster go, with their WAL."
    )
    examples = """
  manage.py base_backup default --wait
  manage.py base_backup default --kind diff --json
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the cluster")
        parser.add_argument("--kind", choices=services.KINDS, default="full", help="all, or what has changed since")
        self.waiting_arguments(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        cluster = find_cluster(options["name"])
        operation = services.base_backup(cluster=cluster, kind=options["kind"], **self.caller)
        if self.waits(options):
            operation = self.finish(operation, here=options["here"], timeout=options["timeout"])
        archive = services.archive_of(cluster)
        return {"archive": represent.archive(archive), "operation": tenants_represent.operation(operation)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        operation = document["operation"]
        if operation["state"] != "succeeded":
            out.line(f"The base backup is {operation['state']}: manage.py show_operation {operation['id']}")
            return
        represent.show_archive(document["archive"], out)
