"""`manage.py warm_pool`."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from django.core.management.base import CommandParser

from provisioning import pool, resolve
from provisioning.pool import Level
from tenants.exceptions import ClusterBusy, InvalidInput
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_cluster, natural
from tenants.management.output import Output
from tenants.models import Cluster

POLL_SECONDS = 0.5


class Command(ControlPlaneCommand):
    help = (
        "Fill the warm pool: schemas with roles and grants that wait, so that a new tenant waits for nothing.\n\n"
        "Every cluster keeps slots for the newest version of each template: its pool target for the default "
        "template, two for others that have tenants. Beat keeps these levels by itself; this command brings them "
        "up now, or with --target higher for once (before a campaign). --dry-run only shows the levels and what is "
        "missing."
    )
    examples = """
  manage.py warm_pool --dry-run
  manage.py warm_pool
  manage.py warm_pool --target 100                       # default template, default cluster
  manage.py warm_pool --target 20 --template trading --cluster eu-2
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cluster", metavar="NAME", help="only this cluster")
        parser.add_argument("--template", metavar="NAME", help="only this template")
        parser.add_argument("--target", type=natural, metavar="N", help="how many slots to have ready, for once")
        parser.add_argument("--dry-run", action="store_true", help="show the levels, build nothing")
        parser.add_argument(
            "--timeout", type=float, default=120, metavar="SECONDS", help="how long to wait for other builders (120)"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        levels = self._levels(options)
        built = 0
        if not options["dry_run"]:
            missing = sum(_missing(level) for level in levels)
            with self.out.progress("warm pool", total=missing) as bar:
                for level in levels:
                    built = self._fill(level, built, bar, options["timeout"])
            levels = self._levels(options)
        return {"built": built, "dry_run": options["dry_run"], "pools": [_represent(level) for level in levels]}

    def _levels(self, options: dict[str, Any]) -> list[Level]:
        """The pools that are meant, with the targets that are meant."""
        cluster, template, target = options["cluster"], options["template"], options["target"]
        if cluster:
            _require_active(find_cluster(cluster))
        if target is not None:
            # A number alone must not fill every pool there is.
            cluster = cluster or resolve.cluster(None).name
            template = template or resolve.template_version(None).template.name
        elif template:
            resolve.template_version(template)
        levels = [
            level
            for level in pool.levels()
            if cluster in (None, level.cluster.name) and template in (None, level.version.template.name)
        ]
        return levels if target is None else [dataclasses.replace(level, target=target) for level in levels]

    def _fill(self, level: Level, built: int, bar: Any, timeout: float) -> int:
        idle_since = time.monotonic()
        while True:
            bar.update(completed=built, description=f"{level.cluster.name} · {level.version}")
            if pool.fill_one(level.cluster, level.version, level.target):
                built += 1
                idle_since = time.monotonic()
                continue
            # Nothing to build: the pool is full, or others are building as much as the cluster bears.
            now = _now(level)
            if now.ready >= level.target:
                return built
            if time.monotonic() - idle_since > timeout:
                raise ClusterBusy(
                    f"The pool of {level.version} on {level.cluster.name} is still at {now.ready} of {level.target}.",
                    hint="Others are building on this cluster. See warm_pool --dry-run.",
                    built=built,
                )
            time.sleep(POLL_SECONDS)

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        out.table(
            ["cluster", "template", "version", "ready", "building", "target", "missing"],
            [list(row.values()) for row in document["pools"]],
        )
        if not document["dry_run"]:
            out.line(f"Slots built: {document['built']}.")


def _now(level: Level) -> Level:
    return next(
        (each for each in pool.levels() if (each.cluster, each.version) == (level.cluster, level.version)), level
    )


def _missing(level: Level) -> int:
    return max(0, level.target - level.ready - level.building)


def _require_active(cluster: Cluster) -> None:
    if cluster.state != Cluster.State.ACTIVE:
        raise InvalidInput(f"The cluster '{cluster.name}' is disabled: it takes no new tenants.", field="cluster")


def _represent(level: Level) -> dict[str, Any]:
    return {
        "cluster": level.cluster.name,
        "template": level.version.template.name,
        "version": level.version.number,
        "ready": level.ready,
        "building": level.building,
        "target": level.target,
        "missing": _missing(level),
    }
