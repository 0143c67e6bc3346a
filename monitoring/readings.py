"""What was measured last, and over time. Every figure comes with when it was taken; none is made up.

The newest samples of a cluster are those of its probe's last look that succeeded (`ProbeState.ok_at`), so finding them
takes one query on an index, however many tenants there are.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from monitoring.catalogue import METRICS, Metric, Scope
from monitoring.models import ClusterSample, FleetSample, ProbeState, TenantActivity, TenantSize
from monitoring.models.samples import Sample
from tenants import facts

log = logging.getLogger(__name__)
# Which probe writes which kind of samples.
PROBES: dict[type[Sample], str] = {
    TenantActivity: "activity",
    TenantSize: "sizes",
    ClusterSample: "server",
    FleetSample: "control_plane",
}
# What was taken longer ago is no figure of now any more.
FRESH = timedelta(minutes=15)


@dataclass(frozen=True)
class Reading:
    """What a metric of a tenant, a cluster or the fleet was, and when."""

    metric: Metric
    value: float
    taken_at: datetime
    tenant: uuid.UUID | None = None
    cluster: int | None = None


def latest(metric: Metric) -> list[Reading]:
    """The newest figure of every subject that has one not older than FRESH."""
    return list(latest_of((metric,)))


def latest_of(metrics: Sequence[Metric]) -> Iterator[Reading]:
    """The same of several: one query for all looks, one for each kind of sample, a constant number for each fact."""
    yield from _sampled([metric for metric in metrics if metric.sample], Q())
    for metric in metrics:
        if metric.sample is None and _key(metric) in facts.known():
            yield from _told(metric)


def latest_of_tenant(tenant: uuid.UUID, metrics: Iterable[Metric] | None = None) -> dict[str, Reading]:
    """A tenant's newest sampled figures by name of the metric: one query for all looks, one for each kind of sample."""
    wanted = [one for one in metrics or METRICS.values() if one.scope is Scope.TENANT and one.sample]
    return {reading.metric.name: reading for reading in _sampled(wanted, Q(tenant_id=tenant))}


def _key(metric: Metric) -> str:
    """How `tenants.facts` calls it, e.g. `tenant.backup_failed`."""
    return f"{metric.scope}.{metric.name}"


def _told(metric: Metric) -> Iterator[Reading]:
    """From who knows it. One that cannot tell takes nothing from the others."""
    now = timezone.now()
    try:
        found = facts.collect(_key(metric))
    except Exception as error:
        log.warning("fact.failed", extra={"metric": _key(metric), "error": type(error).__name__})
        return
    for fact in found:
        yield Reading(metric, float(fact.value), now, fact.tenant, fact.cluster)


def newest(sample: type[Sample], *, within: timedelta | None = FRESH) -> QuerySet[Any] | None:
    """The rows of each cluster's last look that succeeded, if it was `within` (None: ever); None without such a look.

    Who asks for old ones says to whom it shows them how old they are.
    """
    when = _looks([sample], within).get(sample)
    return sample._default_manager.filter(when) if when else None


def _looks(samples: Iterable[type[Sample]], within: timedelta | None = FRESH) -> dict[type[Sample], Q]:
    """Which rows of each kind are those of the last looks. Kinds nobody has looked at are left out."""
    by_probe = {PROBES[sample]: sample for sample in samples}
    looks = ProbeState.objects.filter(probe__in=by_probe, ok_at__isnull=False).order_by()
    if within is not None:
        looks = looks.filter(ok_at__gte=timezone.now() - within)
    found: dict[type[Sample], Q] = {}
    for probe, cluster, ok_at in looks.values_list("probe", "cluster_id", "ok_at"):
        when = Q(taken_at=ok_at) if cluster is None else Q(cluster_id=cluster, taken_at=ok_at)
        found[by_probe[probe]] = found.get(by_probe[probe], Q()) | when
    return found


def _sampled(metrics: Sequence[Metric], which: Q) -> Iterator[Reading]:
    kinds = dict.fromkeys(metric.sample for metric in metrics if metric.sample)
    for sample, when in (_looks(kinds) if kinds else {}).items():
        rows = sample._default_manager.filter(when, which)
        yield from _of_rows(sample, [metric for metric in metrics if metric.sample is sample], rows)


def _of_rows(sample: type[Sample], metrics: Sequence[Metric], found: QuerySet[Any]) -> Iterator[Reading]:
    subject = [name for name in ("tenant_id", "cluster_id") if name in {field.name for field in sample._meta.fields}]
    values: dict[str, Any] = {f"_{metric.name}": metric.value for metric in metrics}
    rows = found.values_list("taken_at", *subject, *values.values())
    for taken_at, *row in rows:
        of = dict(zip(subject, row, strict=False))
        for metric, value in zip(metrics, row[len(subject) :], strict=True):
            if value is not None:
                yield Reading(metric, float(value), taken_at, of.get("tenant_id"), of.get("cluster_id"))
