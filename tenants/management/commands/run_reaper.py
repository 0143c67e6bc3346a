"""`manage.py run_reaper`."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.core.management.base import CommandParser

from tenants import detection
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster
from tenants.management.output import Output
from tenants.models import Cluster
from tenants.postgres import connect
from tenants.reaping import reap_cluster, watch_all
from tenants.reaping.watch import PURPOSE

READING_SECONDS = 5.0


class Command(ControlPlaneCommand):
    help = (
        "End tenants' sessions that break a rule, and go on doing so until told to end (SIGTERM, Ctrl-C). It looks "
        "each second, and meets whoever switched their own timeouts off:\n\n"
        "login_closed: the login may not log in any more. lock_on_foreign: it has waited 1.5 s for a lock on "
        "something that is not its tenant's. idle_in_transaction and statement_too_long: beyond the plan's limit (or "
        "the tenant's own) by half a second; a migrator's statements may take longer.\n\n"
        "Each end is an audit event (session.reaped) with the rule and the kind of statement, never its text. With "
        "--once it looks one time and tells what it did.\n\n"
        "Beside that it reads the servers' JSON logs every two seconds and notes tenants' attempts at what is not "
        "theirs (isolation.attempt); with --once it does not."
    )
    examples = """
  manage.py run_reaper
  manage.py run_reaper --once --json | jq '.ended[].rule'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="CLUSTER", help="with --once: only these clusters")
        parser.add_argument("--once", action="store_true", help="look one time, then end")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["once"]:
            rows = [find_cluster(name) for name in options["names"]] or list(Cluster.objects.filter(host_cluster=None))
            return {"ended": [ended for row in rows for ended in self._once(row)]}
        logging.getLogger().setLevel(logging.INFO)
        end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: end.set())
        reading = threading.Thread(target=detection.watch_all, args=(end,), name="detector")
        reading.start()
        watch_all(end)
        reading.join(READING_SECONDS)
        return {"ended": []}

    def _once(self, row: Cluster) -> list[dict[str, Any]]:
        with connect(row.dsn(PURPOSE), autocommit=True, application_name="controlplane reaper") as connection:
            look = reap_cluster(row, connection)
        return [
            {"cluster": row.name, "tenant": one.tenant.slug if one.tenant else None, **one.as_audit()}
            for one in look.reaped
        ]

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["cluster", "tenant", "rule", "age (ms)", "limit (ms)", "statement", "address"],
            [
                [row["cluster"], row["tenant"], row["rule"], row["age_ms"], row["limit_ms"], row["statement"],
                 row["address"]]
                for row in document["ended"]
            ],
        )  # fmt: skip
