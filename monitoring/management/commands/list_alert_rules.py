"""`manage.py list_alert_rules`."""

from __future__ import annotations

from typing import Any

from monitoring.alerts import represent
from monitoring.models import AlertRule
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "List the alert rules: what is held against which threshold, for how long, and whether the last evaluation had "
        "figures for it. Rules are changed in the admin and by PATCH /api/v1/alert-rules/{id}."
    )
    examples = """
  manage.py list_alert_rules
  manage.py list_alert_rules --json | jq '.rules[] | select(.trouble != "")'
"""

    def run(self, **options: Any) -> dict[str, Any]:
        rows = AlertRule.objects.select_related("cluster", "plan", "tenant")
        return {"rules": [represent.rule(row) | {"condition": row.condition} for row in rows]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["rule", "severity", "condition", "enabled", "silenced until", "evaluated", "trouble"],
            [
                [row["slug"], row["severity"], row["condition"], row["enabled"], row["silenced_until"],
                 row["evaluated_at"], row["trouble"]]
                for row in document["rules"]
            ],
        )  # fmt: skip
