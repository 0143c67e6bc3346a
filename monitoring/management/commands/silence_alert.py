"""`manage.py silence_alert`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from monitoring.alerts import handling, represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import moment
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Tell nobody of one alert for a while; it is evaluated all the same. When the silence ends and it still fires, "
        "whoever was not told yet is. silence_alert_rule silences a rule for all its subjects."
    )
    examples = """
  manage.py silence_alert 42 --for 4h --reason "import is running"
  manage.py silence_alert 42 --end
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("alert", metavar="ID", help="as list_alerts shows it")
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--for", type=moment, dest="until", metavar="WHEN", help="1h, 4h, 1d, or until a date")
        group.add_argument("--end", action="store_true", help="end the silence")
        parser.add_argument("--reason", default="", help="goes into the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        row = handling.get_alert(options["alert"])
        row = handling.silence_alert(alert=row, until=options["until"], reason=options["reason"], **self.caller)
        return represent.alert(row)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(f"Alert {document['id']}", {name: document[name] for name in ("state", "summary", "silenced_until")})
