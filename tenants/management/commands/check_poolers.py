"""`manage.py check_poolers`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from tenants import pooling
from tenants.exceptions import ClusterUnavailable, ControlPlaneError
from tenants.management import represent
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_poolers
from tenants.management.output import Output
from tenants.models import Pooler


class Command(ControlPlaneCommand):
    help = (
        "Look at every pooler (or those of the named clusters): its version, its pools, and whether it reaches the "
        "server and may look verifiers up there. The result is noted on the pooler. With --pools each pool is shown. "
        "Ends with 5 when any of them does not work."
    )
    examples = """
  manage.py check_poolers
  manage.py check_poolers default --pools
  manage.py check_poolers --pools --json | jq '.poolers[].pools[] | select(.clients_waiting > 0)'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="CLUSTER", help="whose poolers to check (default: all)")
        parser.add_argument("--pools", action="store_true", help="also each pool: clients, servers, waiting")

    def run(self, **options: Any) -> dict[str, Any]:
        found = [self._check(row, pools=options["pools"]) for row in find_poolers(options["names"])]
        if bad := [each["cluster"] for each in found if each["state"] != "up"]:
            self.failure = ClusterUnavailable(f"{len(bad)} of {len(found)} poolers do not work: {', '.join(bad)}.")
        return {"poolers": found}

    def _check(self, row: Pooler, *, pools: bool) -> dict[str, Any]:
        listed: list[dict[str, Any]] = []
        try:
            row = pooling.check_pooler(row)
            if pools:
                listed = [asdict(pool) for pool in pooling.read_traffic(row).pools]
        except ControlPlaneError:
            pass  # its row says why
        return {**represent.pooler(row), **({"pools": listed} if pools else {})}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        rows = document["poolers"]
        out.table(
            ["cluster", "state", "address", "PgBouncer", "clients", "waiting", "servers", "error"],
            [
                [row["cluster"], row["state"], f"{row['host']}:{row['port']}", row["version"],
                 *(row["facts"].get(name) for name in ("clients", "waiting", "servers")), row["last_error"]]
                for row in rows
            ],
        )  # fmt: skip
        for row in rows:
            if row.get("pools"):
                out.table(list(row["pools"][0]), [list(pool.values()) for pool in row["pools"]], title=row["cluster"])
            for warning in row["warnings"]:
                out.remark(f"{row['cluster']}: {warning}")
