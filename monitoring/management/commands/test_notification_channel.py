"""`manage.py test_notification_channel`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from monitoring.alerts import channels
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Send a test message by a channel now. It says that it is a test, of severity info, and is over at once. What "
        "the other side answered is shown; what does not work is said, and the exit code is not 0."
    )
    examples = """
  manage.py test_notification_channel oncall
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="as list_notification_channels shows it")

    def run(self, **options: Any) -> dict[str, Any]:
        row = channels.get_channel(options["name"])
        return {"channel": row.name, "status": channels.test_channel(channel=row, **self.caller)}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        answered = f", which answered {document['status']}" if document["status"] else ""
        out.line(f"A test message went to {document['channel']}{answered}.")
