"""`manage.py acknowledge_alert`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from monitoring.alerts import handling, represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Acknowledge an alert that fires: somebody looks after it, and it is not repeated. It ends by itself when its "
        "condition does. Who acknowledged it, and the note, stand in its history and in the audit log."
    )
    examples = """
  manage.py acknowledge_alert 42 --note "disk is being extended"
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("alert", metavar="ID", help="as list_alerts shows it")
        parser.add_argument("--note", default="", help="for those who come after")

    def run(self, **options: Any) -> dict[str, Any]:
        row = handling.acknowledge(alert=handling.get_alert(options["alert"]), note=options["note"], **self.caller)
        return represent.alert(row)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(f"Alert {document['id']}", {name: document[name] for name in ("state", "summary", "note", "url")})
