"""The newest readings as gauges: from samples and facts, never by a look at a cluster, and each with its age."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from django.db import connection
from django.db.models import Count
from django.utils import timezone
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from monitoring.catalogue import METRICS, Scope
from monitoring.models import ProbeState
from monitoring.readings import latest_of
from tenants.models import Cluster, Tenant

log = logging.getLogger(__name__)
KEPT_SECONDS = 5.0
_lock = threading.Lock()
_kept: tuple[float, list[Metric]] | None = None


def gauges() -> list[Metric]:
    """Of the fleet and its clusters; of a few seconds ago at most. A database that is away costs these alone."""
    global _kept
    with _lock:
        if _kept is None or time.monotonic() - _kept[0] > KEPT_SECONDS:
            _kept = (time.monotonic(), _read())
        return _kept[1]


def forget() -> None:
    """Read anew at the next question."""
    global _kept
    _kept = None


def _read() -> list[Metric]:
    ok = GaugeMetricFamily("controlplane_readings_ok", "Whether the readings below could be read just now.")
    found: list[Metric] = []
    try:
        names = dict(Cluster.objects.values_list("pk", "name"))
        found = [*_readings(names), *_probes(names), _tenants()]
    except Exception as error:
        log.warning("metrics.no_readings", extra={"error": type(error).__name__})
        connection.close()
    ok.add_metric([], float(bool(found)))
    return [ok, *found]


def _readings(names: dict[int, str]) -> Iterable[Metric]:
    wanted = [one for one in METRICS.values() if one.exported and one.scope is not Scope.TENANT]
    families = {
        one: GaugeMetricFamily(one.prometheus, one.help, labels=["cluster"] if one.scope is Scope.CLUSTER else [])
        for one in wanted
    }
    for reading in latest_of(wanted):
        if reading.metric.scope is Scope.FLEET:
            families[reading.metric].add_metric([], reading.value)
        elif reading.cluster in names:
            families[reading.metric].add_metric([names[reading.cluster]], reading.value)
    return [family for family in families.values() if family.samples]


def _probes(names: dict[int, str]) -> Iterable[Metric]:
    """How each probe fares; without a cluster it is the one that looks at the control plane itself."""
    age = GaugeMetricFamily(
        "controlplane_probe_age_seconds",
        "Since the look that brought the figures of this probe; those older than 15 minutes are not shown.",
        labels=["cluster", "probe"],
    )
    up = GaugeMetricFamily("controlplane_probe_ok", "Whether its last look succeeded.", labels=["cluster", "probe"])
    now = timezone.now()
    for state in ProbeState.objects.defer("memory"):
        if state.cluster_id is None or state.cluster_id in names:
            of = [names.get(state.cluster_id or 0, ""), state.probe]
            up.add_metric(of, float(not state.error))
            if state.ok_at is not None:
                age.add_metric(of, (now - state.ok_at).total_seconds())
    return [age, up]


def _tenants() -> Metric:
    family = GaugeMetricFamily("controlplane_tenants_by_state", "Tenants in each state.", labels=["state"])
    rows = Tenant.objects.exclude(state=Tenant.State.PURGED).order_by().values_list("state").annotate(Count("pk"))
    counted = dict(rows)
    for state in Tenant.State.values:
        if state != Tenant.State.PURGED:
            family.add_metric([state], counted.get(state, 0))
    return family
