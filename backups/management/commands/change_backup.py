"""`manage.py change_backup`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.management import represent
from backups.services import history, take
from tenants.exceptions import InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Keep a backup beyond its policy, or no longer: --pin keeps it until --unpin, --keep-days for so long from "
        "now on (0: as its policy says). --note changes what is said about it."
    )
    examples = """
  manage.py change_backup 6f0c1c1e-… --pin --note "for the auditors"
  manage.py change_backup 6f0c1c1e-… --unpin --keep-days 30
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backup", metavar="ID", help="the backup")
        pin = parser.add_mutually_exclusive_group()
        pin.add_argument("--pin", action="store_true", default=None, dest="pinned", help="keep it")
        pin.add_argument("--unpin", action="store_false", dest="pinned", help="let its policy decide again")
        parser.add_argument("--keep-days", type=natural, metavar="DAYS", help="its own retention, from now on")
        parser.add_argument("--note", help="why, for people")

    def run(self, **options: Any) -> dict[str, Any]:
        given = {name: options[name] for name in ("pinned", "keep_days", "note") if options[name] is not None}
        if not given:
            raise InvalidInput("Say what to change.", code="usage", hint="--pin, --unpin, --keep-days or --note")
        row = take.change_backup(backup=represent.find_backup(options["backup"]), **given, **self.caller)
        return {**represent.backup(row), "kept_because": history.reasons(row)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.line(f"Backup {document['id']} of {document['tenant']['slug']}")
        out.line("Kept: " + ("; ".join(document["kept_because"]) or "no, it goes with the next retention"))
