"""`manage.py probe_clusters`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from monitoring import sweep
from monitoring.seen import last_look
from tenants.exceptions import ClusterUnavailable, InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster
from tenants.management.output import Output
from tenants.models import Cluster

PROBES = (*sweep.OF_A_SERVER, sweep.CONTROL_PLANE)


class Command(ControlPlaneCommand):
    help = (
        "Look at servers now, as beat does every minute, and write down what is seen: sessions and statements of "
        "tenants (activity), the server as a whole (server), PgBouncer (pooler), how much tenants have (sizes), the "
        "control plane itself (control_plane). Shows for each probe how many statements it took and how long, what it "
        "cannot see there and why, and what it saw. Only reads on the servers. Ends with 5 when any probe failed."
    )
    examples = """
  manage.py probe_clusters
  manage.py probe_clusters --cluster default --probe activity
  manage.py probe_clusters --json | jq '.probes[] | select(.probe == "activity") | .seen.blocking'
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--cluster", action="append", default=[], metavar="NAME", help="this one (default: all; can be repeated)"
        )
        parser.add_argument(
            "--probe", action="append", default=[], choices=PROBES, help="this one (default: all; can be repeated)"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        wanted = options["probe"] or PROBES
        found = [row for cluster in self._clusters(options["cluster"]) for row in self._probe(cluster, wanted)]
        if sweep.CONTROL_PLANE in wanted and not options["cluster"]:
            found.append(self._row(None, sweep.sweep_control_plane()))
        if bad := [f"{row['probe']} of {row['cluster'] or 'the control plane'}" for row in found if row["error"]]:
            self.failure = ClusterUnavailable(f"{len(bad)} of {len(found)} probes failed: {', '.join(bad)}.")
        return {"probes": found}

    def _clusters(self, names: list[str]) -> list[Cluster]:
        chosen = [find_cluster(name) for name in names]
        for cluster in chosen:
            if cluster.host_cluster is not None:
                raise InvalidInput(
                    f"It is looked at with its server: --cluster {cluster.host_cluster}.", field="cluster"
                )
        every = Cluster.objects.filter(host_cluster=None).select_related("pooler").order_by("name")
        return list(every.filter(pk__in=[cluster.pk for cluster in chosen]) if names else every)

    def _probe(self, cluster: Cluster, wanted: Sequence[str]) -> list[dict[str, Any]]:
        probes = [name for name in wanted if name != sweep.CONTROL_PLANE]
        return [self._row(cluster, outcome) for outcome in sweep.sweep_cluster(cluster, probes)] if probes else []

    def _row(self, cluster: Cluster | None, outcome: sweep.Outcome) -> dict[str, Any]:
        seen = {} if outcome.error or outcome.skipped else last_look(cluster, outcome.probe)
        return {"cluster": cluster.name if cluster else None, **asdict(outcome), "seen": seen}

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        rows = document["probes"]
        out.table(
            ["cluster", "probe", "rows", "statements", "ms", "what is amiss"],
            [
                [row["cluster"] or "control plane", row["probe"], row["rows"], row["queries"], row["duration_ms"],
                 row["error"] or row["unavailable"] or ("somebody else is at it" if row["skipped"] else "")]
                for row in rows
            ],
        )  # fmt: skip
        for row in rows:
            if row["seen"]:
                out.facts(f"{row['cluster'] or 'control plane'}: {row['probe']}", row["seen"])
