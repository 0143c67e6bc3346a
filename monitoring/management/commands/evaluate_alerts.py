"""`manage.py evaluate_alerts`."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.core.management.base import CommandParser
from django.db import DatabaseError, InterfaceError, close_old_connections

from monitoring.alerts.evaluate import evaluate
from monitoring.alerts.sending import send_due
from tenants.exceptions import ControlPlaneError
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output

log = logging.getLogger(__name__)
EVERY_SECONDS, SEND_SECONDS = 15.0, 5.0


class Command(ControlPlaneCommand):
    help = (
        "Hold all alert rules against the newest figures now. Beat does this every 15 s, and sends what is to be told "
        "every 5 s. With --send messages that are due are sent, too. With --follow both go on until SIGTERM, without "
        "beat or any worker: run it beside them where somebody is to be told when they are dead. Several at once do "
        "no harm."
    )
    examples = """
  manage.py evaluate_alerts
  manage.py evaluate_alerts --send --json | jq .changed
  manage.py evaluate_alerts --follow
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--send", action="store_true", help="send the messages that are due as well")
        parser.add_argument("--follow", action="store_true", help="go on until SIGTERM or Ctrl-C")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["follow"]:
            self._follow()
        outcome = evaluate()
        sent = send_due() if options["send"] else 0
        return {"rules": outcome.rules, "changed": dict(outcome.changed), "blind": outcome.blind, "tried": sent}

    def _follow(self) -> None:
        logging.getLogger().setLevel(logging.INFO)
        end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: end.set())
        waited = EVERY_SECONDS
        while not end.is_set():
            try:
                if waited >= EVERY_SECONDS:
                    waited = 0.0
                    evaluate()
                send_due(seconds=EVERY_SECONDS)
            except (DatabaseError, InterfaceError, ControlPlaneError) as error:
                log.error("evaluation goes on in %s s: %s", SEND_SECONDS, type(error).__name__)
                close_old_connections()
            end.wait(SEND_SECONDS)
            waited += SEND_SECONDS

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        changed = {state: count for state, count in document["changed"].items() if count}
        out.facts(f"{document['rules']} rules", changed or {"changed": "nothing"})
        if document["blind"]:
            out.table(["without figures", "why"], sorted(document["blind"].items()))
