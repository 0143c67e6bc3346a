"""`manage.py seal_audit_log`."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any

from django.core.management.base import CommandParser
from django.db import DatabaseError, InterfaceError, close_old_connections

from tenants.exceptions import ControlPlaneError
from tenants.ledger import checkpoints, sealer
from tenants.management.base import ControlPlaneCommand
from tenants.management.output import Output

log = logging.getLogger(__name__)
SEAL_SECONDS, CHECKPOINT_SECONDS, PAUSE_SECONDS = 1.0, 60.0, 5.0


class Command(ControlPlaneCommand):
    help = (
        "Give committed audit events their numbers in the chain, sign the chain's end and write that to the places of "
        "AUDIT_CHECKPOINT_URLS. With --follow it goes on until it is told to end (SIGTERM): events are then sealed "
        "each second and signed each minute, however busy the workers are. Only one sealer works at a time; more of "
        "them do no harm."
    )
    examples = """
  manage.py seal_audit_log
  manage.py seal_audit_log --follow
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--follow", action="store_true", help="go on until SIGTERM or Ctrl-C")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["follow"]:
            return self._follow()
        sealed = sealer.seal_pending()
        taken, undelivered = checkpoints.checkpoint()
        waiting, oldest = sealer.lag()
        if undelivered:
            self.failure = ControlPlaneError("Checkpoints could not be delivered.", code="undelivered", status=500)
        return {
            "sealed": sealed or 0,
            "another_sealer": sealed is None,
            "waiting": waiting,
            "waiting_since": oldest,
            "checkpoint": taken.number if taken else None,
            "undelivered": undelivered,
        }

    def _follow(self) -> dict[str, Any]:
        logging.getLogger().setLevel(logging.INFO)
        end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: end.set())
        total, sign_at = 0, time.monotonic()
        while not end.is_set():
            pause = SEAL_SECONDS
            try:
                total += sealer.seal_pending() or 0
                if time.monotonic() >= sign_at:
                    sign_at = time.monotonic() + CHECKPOINT_SECONDS
                    checkpoints.checkpoint()
            except (DatabaseError, InterfaceError, ControlPlaneError) as error:
                log.error("sealing goes on in %s s: %s", PAUSE_SECONDS, type(error).__name__)
                close_old_connections()
                pause = PAUSE_SECONDS
            end.wait(pause)
        return {"sealed": total}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.facts("audit log", document)
