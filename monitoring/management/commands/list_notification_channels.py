"""`manage.py list_notification_channels`."""

from __future__ import annotations

from typing import Any

from monitoring.alerts import represent
from monitoring.models import NotificationChannel
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "List who is told of alerts: by which way, from which severity on, and whether that worked the last time. URLs "
        "and secrets are not shown."
    )
    examples = """
  manage.py list_notification_channels
"""

    def run(self, **options: Any) -> dict[str, Any]:
        rows = NotificationChannel.objects.select_related("cluster", "plan")
        return {"channels": [represent.channel(row) for row in rows]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        columns = ["name", "kind", "place", "enabled", "min_severity", "worked_at", "last_error"]
        out.table(columns, [[row[name] for name in columns] for row in document["channels"]])
