"""`manage.py list_alerts`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from monitoring.alerts import represent
from monitoring.models import Alert, Severity
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster, find_tenant, natural
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "List alerts: what fires and what was acknowledged, the most urgent first. --state shows others, too: "
        "pending (not for long enough yet) and resolved."
    )
    examples = """
  manage.py list_alerts
  manage.py list_alerts --severity critical --tenant acme
  manage.py list_alerts --state resolved --limit 20 --json
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--state", action="append", choices=Alert.State.values, help="repeatable")
        parser.add_argument("--severity", choices=Severity.values)
        parser.add_argument("--rule", metavar="SLUG")
        parser.add_argument("--tenant", metavar="SLUG|ID")
        parser.add_argument("--cluster", metavar="NAME")
        parser.add_argument("--limit", type=natural, default=100, help="at most so many (default: 100)")

    def run(self, **options: Any) -> dict[str, Any]:
        rows = Alert.objects.select_related("rule", "cluster").filter(
            state__in=options["state"] or [Alert.State.FIRING, Alert.State.ACKNOWLEDGED]
        )
        wanted = {"severity": options["severity"], "rule__slug": options["rule"]}
        if options["tenant"]:
            wanted["tenant"] = find_tenant(options["tenant"])
        if options["cluster"]:
            wanted["cluster"] = find_cluster(options["cluster"])
        rows = rows.filter(**{name: value for name, value in wanted.items() if value})
        found = sorted(rows.order_by("-created_at", "-id")[: options["limit"]], key=_urgency)
        return {"alerts": [represent.alert(row) for row in found]}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["id", "severity", "state", "subject", "summary", "since", "no data since"],
            [
                [row["id"], row["severity"], "silenced" if row["silenced"] else row["state"], row["subject_label"],
                 row["summary"], row["fired_at"] or row["held_since"], row["no_data_since"]]
                for row in document["alerts"]
            ],
        )  # fmt: skip


def _urgency(row: Alert) -> int:
    return -Severity.values.index(row.severity)
