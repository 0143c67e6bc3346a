"""A sweep of one server: all probes; each fails for itself alone, and its figures say when they were taken."""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from monitoring import partitions
from monitoring.models import ClusterSample, FleetSample, ProbeCounters, ProbeState, TenantActivity, TenantSize
from monitoring.models.samples import Sample
from monitoring.partitions import QUERIES
from monitoring.probes import activity, control_plane, pooler, server, sizes
from monitoring.probes.link import SESSION_SECONDS, Link, linked
from monitoring.probes.looks import Before, Look, Subject, subjects
from monitoring.probes.pooler import PoolerFigures
from monitoring.writing import write
from tenants.exceptions import ClusterUnavailable, ControlPlaneError
from tenants.models import Cluster
from tenants.postgres import translate

log = logging.getLogger(__name__)

SAMPLES: dict[str, type[Sample]] = {
    "activity": TenantActivity,
    "sizes": TenantSize,
    "server": ClusterSample,
    "control_plane": FleetSample,
}
CONTROL_PLANE = "control_plane"
# In the order in which they look: what the pooler tells goes into the server's row.
OF_A_SERVER = ("pooler", "activity", "server", "sizes")
OFTEN = ("pooler", "activity", "server")


def interval(probe: str) -> float:
    """Seconds between two looks of a probe."""
    return settings.MONITORING_SIZES_SECONDS if probe == "sizes" else settings.MONITORING_INTERVAL_SECONDS


@dataclass(frozen=True)
class Outcome:
    """What came of one probe: its figures, or why there are none."""

    probe: str
    taken_at: datetime
    duration_ms: int = 0
    queries: int = 0
    rows: int = 0
    unavailable: str = ""
    error: str = ""
    # Somebody else was at it.
    skipped: bool = False


def sweep_cluster(cluster: Cluster, probes: Sequence[str] = OF_A_SERVER) -> list[Outcome]:
    """Look at a server now, with these probes, and write down what they see. Raises nothing that a server does."""
    if cluster.host_cluster_id is not None:
        raise ControlPlaneError("A tenant's own database is looked at with its server.", code="not_a_server")
    unknown = set(probes) - set(OF_A_SERVER)
    if unknown:
        raise ControlPlaneError(f"There is no probe {', '.join(sorted(unknown))}.", code="unknown_probe")
    sweep = Sweep(cluster)
    try:
        return [sweep.run(name) for name in OF_A_SERVER if name in probes and sweep.has(name)]
    finally:
        sweep.close()


def sweep_control_plane() -> Outcome:
    """Look at the control plane itself."""
    with single_flight(None, CONTROL_PLANE) as ours:
        if not ours:
            return Outcome(CONTROL_PLANE, timezone.now(), skipped=True)
        return _noted(None, CONTROL_PLANE, _look_at_ourselves)


def _look_at_ourselves(at: datetime, before: Before) -> Look:
    asked = 0

    def count(execute: Any, *statement: Any) -> Any:
        nonlocal asked
        asked += 1
        return execute(*statement)

    with connection.execute_wrapper(count):
        look = control_plane.probe(at)
    return replace(look, queries=asked)


@contextmanager
def single_flight(cluster: Cluster | None, probe: str) -> Iterator[bool]:
    """Whether nobody else is at this probe of this server; while the block runs nobody will be."""
    key = f"controlplane.monitoring.{cluster.pk if cluster else ''}.{probe}"
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["try_lock"], [key])
        [ours] = cursor.fetchone()
    try:
        yield ours
    finally:
        if ours:
            with connection.cursor() as cursor:
                cursor.execute(QUERIES["unlock"], [key])


@dataclass
class Sweep:
    """One sweep: the probes share a session on the server, and what is known of its tenants."""

    cluster: Cluster
    seconds: float = SESSION_SECONDS
    _pooler: PoolerFigures = field(default_factory=PoolerFigures)
    _tenants: dict[str, Subject] | None = None
    _opened: Any = None
    _link: Link | None = None
    _lost: str = ""

    def has(self, probe: str) -> bool:
        """Whether there is something to look at."""
        return probe != "pooler" or getattr(self.cluster, "pooler", None) is not None

    def run(self, probe: str) -> Outcome:
        """One probe, unless somebody else is at it."""
        with single_flight(self.cluster, probe) as ours:
            if not ours:
                return Outcome(probe, timezone.now(), skipped=True)
            return _noted(self.cluster, probe, lambda at, before: self._look(probe, at, before))

    def _look(self, probe: str, at: datetime, before: Before) -> Look:
        if probe == "pooler":
            look = pooler.probe(self.cluster)
            [self._pooler] = look.rows
            return look
        link = self._session()
        asked = link.queries
        try:
            if probe == "server":
                look = server.probe(link, self.cluster, at, self._pooler, before)
            else:
                look_at = activity.probe if probe == "activity" else sizes.probe
                look = look_at(link, self.cluster, at, self._known_tenants(), before)
            return replace(look, queries=link.queries - asked)
        except psycopg.Error as error:
            if link.connection.broken or link.connection.closed:
                self._lost = str(self._translated(error))
                raise ClusterUnavailable(self._lost) from error
            raise translate(error) from error

    def _translated(self, error: psycopg.Error) -> ControlPlaneError:
        """Closing says whether it was cut for taking too long."""
        try:
            self._leave(error)
        except ControlPlaneError as told:
            return told
        return translate(error)

    def _session(self) -> Link:
        """Opened once: a server that does not answer is not asked again in the same sweep."""
        if self._lost:
            raise ClusterUnavailable(self._lost)
        if self._link is None:
            opened = linked(self.cluster, seconds=self.seconds)
            try:
                self._link = opened.__enter__()
            except ControlPlaneError as error:
                self._lost = str(error)
                raise
            self._opened = opened
        return self._link

    def _known_tenants(self) -> dict[str, Subject]:
        if self._tenants is None:
            self._tenants = subjects(self.cluster)
        return self._tenants

    def _leave(self, error: BaseException | None) -> None:
        opened, self._opened, self._link = self._opened, None, None
        if opened is not None:
            opened.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def close(self) -> None:
        """End the session."""
        with suppress(ControlPlaneError):
            self._leave(None)


def _noted(cluster: Cluster | None, probe: str, look: Callable[[datetime, Before], Look]) -> Outcome:
    """Look, and write samples and state in one transaction; or write down why there are none."""
    at, begun = timezone.now(), time.monotonic()
    before = _before(cluster, probe)
    try:
        seen = look(at, before)
    except Exception as error:
        if not isinstance(error, ControlPlaneError):  # a mistake of ours; the other probes go on
            log.exception("probe.failed", extra={"probe": probe})
        told = str(error) if isinstance(error, ControlPlaneError) else f"{type(error).__name__}: {error}"
        outcome = Outcome(probe, at, _ms(begun), error=told[:500])
        _note_failure(cluster, outcome)
        return outcome
    outcome = Outcome(probe, at, _ms(begun), seen.queries, len(seen.rows), seen.unavailable)
    _note_look(cluster, outcome, seen)
    return outcome


def _ms(begun: float) -> int:
    return round(1000 * (time.monotonic() - begun))


def _before(cluster: Cluster | None, probe: str) -> Before:
    state = ProbeState.objects.filter(cluster=cluster, probe=probe).first()
    if state is None:
        return Before()
    packed = ProbeCounters.objects.filter(state=state).values_list("packed", flat=True).first()
    return Before(state.ok_at, state.memory, json.loads(zlib.decompress(packed)) if packed else None)


def _note_look(cluster: Cluster | None, outcome: Outcome, seen: Look) -> None:
    if outcome.probe in SAMPLES:
        # Not within the transaction: making one locks its table.
        partitions.ensure(SAMPLES[outcome.probe], [outcome.taken_at])
    with transaction.atomic():
        if outcome.probe in SAMPLES:
            write(SAMPLES[outcome.probe], seen.rows)
        state, _ = ProbeState.objects.update_or_create(
            cluster=cluster, probe=outcome.probe,
            defaults={
                "tried_at": outcome.taken_at, "ok_at": outcome.taken_at, "failing_since": None, "error": "",
                "duration_ms": outcome.duration_ms, "queries": outcome.queries, "rows": outcome.rows,
                "unavailable": outcome.unavailable, "memory": seen.memory,
            },
        )  # fmt: skip
        if seen.counters is not None:
            packed = zlib.compress(json.dumps(seen.counters, separators=(",", ":")).encode(), 1)
            ProbeCounters.objects.update_or_create(state=state, defaults={"packed": packed})
        else:
            ProbeCounters.objects.filter(state=state).delete()


def _note_failure(cluster: Cluster | None, outcome: Outcome) -> None:
    """What was seen last stays, with its time."""
    with transaction.atomic():
        state, _ = ProbeState.objects.select_for_update().get_or_create(
            cluster=cluster, probe=outcome.probe, defaults={"tried_at": outcome.taken_at}
        )
        state.tried_at, state.error = outcome.taken_at, outcome.error
        state.failing_since = state.failing_since or outcome.taken_at
        state.duration_ms, state.queries, state.rows = outcome.duration_ms, outcome.queries, 0
        state.save()
