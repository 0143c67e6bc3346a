"""`manage.py show_archive`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.pitr import archive as archives
from backups.pitr import services
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Show a cluster's WAL archive: its base backups, and between which moments its tenants can be brought back. "
        "pgBackRest and the server are asked now; --cached shows what they said last."
    )
    examples = """
  manage.py show_archive default
  manage.py show_archive default --json | jq -r .earliest
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the cluster")
        parser.add_argument("--cached", action="store_true", help="ask nobody")

    def run(self, **options: Any) -> dict[str, Any]:
        found = services.archive_of(find_cluster(options["name"]))
        if not options["cached"]:
            archives.look(found)
        return represent.archive(found)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        represent.show_archive(document, out)
