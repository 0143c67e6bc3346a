"""`manage.py show_backup`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.services import history
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = "Show one backup: what it holds, where its copies lie, how far it is proven, and why it is kept."
    examples = """
  manage.py show_backup 6f0c1c1e-…
  manage.py show_backup 6f0c1c1e-… --json | jq .kept_because
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backup", metavar="ID", help="the backup")

    def run(self, **options: Any) -> dict[str, Any]:
        row = represent.find_backup(options["backup"])
        return {**represent.backup(row), "kept_because": history.reasons(row)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        plain = {name: value for name, value in document.items() if name not in ("tenant", "copies", "kept_because")}
        plain |= {name: represent.size(plain[name]) for name in ("raw_bytes", "stored_bytes")}
        out.facts(f"Backup of {document['tenant']['slug']}", plain)
        out.table(
            ["storage", "state", "stored", "verified", "locked until", "error"],
            [
                [copy["storage"], copy["state"], represent.size(copy["bytes"]), copy["verified_at"],
                 copy["locked_until"], copy["error"]]
                for copy in document["copies"]
            ],
        )  # fmt: skip
        out.line("Kept: " + ("; ".join(document["kept_because"]) or "no, it goes with the next retention"))
