"""`manage.py remove_pooler`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import pooling
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_pooler
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Take the pooler away from a cluster: its tenants are told the server's address again.\n\n"
        "PgBouncer itself is not stopped, so applications that have its address go on working until you do that. The "
        "default cluster's comes back with the next `bootstrap` while POOLER_URL names it."
    )
    examples = """
  manage.py remove_pooler eu-2
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cluster", help="the cluster whose pooler it is")

    def run(self, **options: Any) -> dict[str, Any]:
        row = find_pooler(options["cluster"])
        document = represent.pooler(row)
        pooling.remove_pooler(pooler=row, **self.caller)
        return document

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"{document['cluster']} has no pooler any more; PgBouncer at {document['host']} runs on.")
