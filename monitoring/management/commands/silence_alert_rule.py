"""`manage.py silence_alert_rule`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from monitoring.alerts import represent, rules
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import moment
from tenants.management.output import Output


class Command(ControlPlaneCommand):
    help = (
        "Tell nobody of a rule's alerts for a while: for maintenance. They are evaluated all the same; what still "
        "fires when the silence ends is told then."
    )
    examples = """
  manage.py silence_alert_rule replication-lag --for 4h --reason "replica is being rebuilt"
  manage.py silence_alert_rule replication-lag --end
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rule", metavar="SLUG", help="as list_alert_rules shows it")
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--for", type=moment, dest="until", metavar="WHEN", help="1h, 4h, 1d, or until a date")
        group.add_argument("--end", action="store_true", help="end the silence")
        parser.add_argument("--reason", default="", help="goes into the audit log")

    def run(self, **options: Any) -> dict[str, Any]:
        row = rules.get_rule(options["rule"])
        row = rules.silence_rule(rule=row, until=options["until"], reason=options["reason"], **self.caller)
        return represent.rule(row)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(f"Rule {document['slug']}", {name: document[name] for name in ("name", "silenced_until")})
