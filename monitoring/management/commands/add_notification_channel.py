"""`manage.py add_notification_channel`."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser

from monitoring.alerts import channels, represent
from monitoring.models import NotificationChannel, Severity
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster, find_tenant
from tenants.management.output import Output
from tenants.management.passwords import read_password

URL_VARIABLE, SECRET_VARIABLE = "NOTIFICATION_URL", "NOTIFICATION_SECRET"


class Command(ControlPlaneCommand):
    help = (
        "Add somebody who is told of alerts: e-mail, a webhook (JSON, signed with HMAC-SHA256), a Slack-compatible "
        "webhook, or an Alertmanager (API v2).\n\n"
        "A URL is often a secret itself: it is taken from --url-file (- is stdin), from NOTIFICATION_URL in the "
        "environment, or asked for; the secret that signs a webhook (an Alertmanager's bearer token) from "
        "--secret-file or NOTIFICATION_SECRET. Both are stored encrypted and never shown. Private addresses are "
        "connected to only where NOTIFY_ALLOWED_NETWORKS lists them. Nothing is sent: test_notification_channel does."
    )
    examples = """
  manage.py add_notification_channel oncall --kind email --to oncall@example.com --min-severity critical
  NOTIFICATION_URL=https://hooks.slack.com/services/… manage.py add_notification_channel team --kind slack
  manage.py add_notification_channel hook --kind webhook --url-file url --secret-file secret
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what it is called here")
        parser.add_argument("--kind", required=True, choices=NotificationChannel.Kind.values)
        parser.add_argument("--to", action="append", default=[], metavar="ADDRESS", help="of e-mail (repeatable)")
        parser.add_argument("--url-file", metavar="FILE", help="a file that holds the URL; - is stdin")
        parser.add_argument("--secret-file", metavar="FILE", help="a file that holds the secret; - is stdin")
        parser.add_argument("--min-severity", default="info", choices=Severity.values, help="of this and worse")
        parser.add_argument("--no-resolved", action="store_true", help="do not tell that an alert is over")
        parser.add_argument("--tenant", metavar="SLUG|ID", help="only this tenant's alerts")
        parser.add_argument("--cluster", metavar="NAME", help="only alerts of this cluster and its tenants")

    def run(self, **options: Any) -> dict[str, Any]:
        url = secret = ""
        if options["kind"] != NotificationChannel.Kind.EMAIL:
            url = read_password(options["url_file"], given=os.environ.get(URL_VARIABLE), variable=URL_VARIABLE)
            given = os.environ.get(SECRET_VARIABLE)
            if options["secret_file"] or given:
                secret = read_password(options["secret_file"], given=given, variable=SECRET_VARIABLE)
        values = {
            "recipients": options["to"],
            "min_severity": options["min_severity"],
            "send_resolved": not options["no_resolved"],
            "tenant": find_tenant(options["tenant"]) if options["tenant"] else None,
            "cluster": find_cluster(options["cluster"]) if options["cluster"] else None,
        }
        row = channels.create_channel(
            name=options["name"], kind=options["kind"], url=url, secret=secret, values=values, **self.caller
        )
        return represent.channel(row)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts(f"Channel {document['name']}", {name: document[name] for name in ("kind", "place", "min_severity")})
        out.line(f"manage.py test_notification_channel {document['name']} tries it.")
