"""`manage.py sync_alert_rules`."""

from __future__ import annotations

from typing import Any

from monitoring.alerts.rules import sync_shipped
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Make the alert rules that come with the product, and bring those that are there up to date. What somebody has "
        "changed of a rule stays as it is. bootstrap does this as well; run it after every upgrade. Doing it twice "
        "changes nothing."
    )
    examples = """
  manage.py sync_alert_rules
"""

    def run(self, **options: Any) -> dict[str, Any]:
        done = sync_shipped(**self.caller)
        return {word: done[word] for word in ("created", "updated", "unchanged", "disabled", "skipped")}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts("alert rules", {word: count for word, count in document.items() if count})
