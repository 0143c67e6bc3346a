"""The newest figures that rules are held against, and what is known of their subjects."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from monitoring import readings
from monitoring.catalogue import METRICS, Metric, Scope
from tenants import facts
from tenants.models import Cluster, Tenant

log = logging.getLogger(__name__)
FLEET = "fleet"
Key = tuple[str, str]  # scope and name of a metric


@dataclass(frozen=True)
class Figure:
    """What was measured of a subject, and when. Without a value: the subject is not told of any more."""

    value: float | None
    taken_at: datetime


@dataclass
class Figures:
    """Of one metric, by subject. `complete`: a subject that is missing has nothing to tell, it is not unknown."""

    by_subject: dict[str, Figure] = field(default_factory=dict)
    complete: bool = False
    trouble: str = ""

    def of(self, subject: str, now: datetime) -> Figure | None:
        """What is known of a subject; None when nothing is."""
        found = self.by_subject.get(subject)
        return Figure(None, now) if found is None and self.complete else found


@dataclass(frozen=True)
class Subject:
    """A tenant, a cluster or the fleet, with what narrows rules and channels."""

    key: str
    label: str
    tenant: uuid.UUID | None = None
    cluster: int | None = None
    plan: int | None = None
    cluster_label: str = ""


class Narrowed(Protocol):
    """A rule or a channel."""

    cluster_id: Any
    plan_id: Any
    tenant_id: Any


def concerns(narrowed: Narrowed, subject: Subject) -> bool:
    """Whether a rule or a channel is about this subject: everything it names must be the subject's."""
    pairs = (
        (narrowed.cluster_id, subject.cluster), (narrowed.plan_id, subject.plan), (narrowed.tenant_id, subject.tenant),
    )  # fmt: skip
    return all(wanted is None or wanted == has for wanted, has in pairs)


def key_of(scope: str, tenant: uuid.UUID | None, cluster: int | None) -> str:
    """How a subject is called in `Alert.subject`."""
    if scope == Scope.TENANT:
        return f"tenant:{tenant}"
    return f"cluster:{cluster}" if scope == Scope.CLUSTER else FLEET


def newest(keys: Iterable[Key], now: datetime) -> dict[Key, Figures]:
    """The newest figures of these metrics: one query for each kind of sample, a constant number for each fact.

    A fact that cannot be told says so in `trouble` and keeps the others from nothing.
    """
    found: dict[Key, Figures] = {key: Figures() for key in keys}
    metrics = [METRICS[Scope(scope), name] for scope, name in found if (scope, name) in METRICS]
    for reading in readings.latest_of([metric for metric in metrics if metric.sample]):
        metric = reading.metric
        subject = key_of(metric.scope, reading.tenant, reading.cluster)
        found[metric.scope, metric.name].by_subject[subject] = Figure(reading.value, reading.taken_at)
    for metric in metrics:
        if metric.sample is None:
            found[metric.scope, metric.name] = _told(metric, now)
    return found


def _told(metric: Metric, now: datetime) -> Figures:
    name = f"{metric.scope}.{metric.name}"
    if name not in facts.known():
        return Figures(trouble="Nobody tells of this figure.")
    try:
        told = facts.collect(name)
    except Exception as error:
        log.exception("alerts.fact_failed", extra={"metric": name})
        return Figures(trouble=f"The figure could not be read: {type(error).__name__}.")
    every = {key_of(metric.scope, fact.tenant, fact.cluster): Figure(float(fact.value), now) for fact in told}
    return Figures(every, complete=True)


def subjects(keys: Iterable[str]) -> dict[str, Subject]:
    """Those of these subjects that exist; two queries, however many they are. A purged tenant does not exist."""
    wanted: dict[str, list[str]] = {"tenant": [], "cluster": []}
    found: dict[str, Subject] = {}
    for key in set(keys):
        kind, _, number = key.partition(":")
        if kind == FLEET:
            found[key] = Subject(FLEET, FLEET)
        else:
            wanted[kind].append(number)
    found |= _tenants(wanted["tenant"]) if wanted["tenant"] else {}
    found |= _clusters(wanted["cluster"]) if wanted["cluster"] else {}
    return found


def _tenants(ids: list[str]) -> Mapping[str, Subject]:
    rows = Tenant.objects.exclude(state=Tenant.State.PURGED).filter(pk__in=ids)
    return {
        f"tenant:{pk}": Subject(f"tenant:{pk}", slug, pk, cluster, plan, name)
        for pk, slug, cluster, plan, name in rows.values_list("pk", "slug", "cluster_id", "plan_id", "cluster__name")
    }


def _clusters(ids: list[str]) -> Mapping[str, Subject]:
    rows = Cluster.objects.filter(pk__in=ids).values_list("pk", "name")
    return {f"cluster:{pk}": Subject(f"cluster:{pk}", name, None, pk, None, name) for pk, name in rows}
