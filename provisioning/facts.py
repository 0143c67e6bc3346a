"""What provisioning knows that others watch: how full the pools are, and how long tenants take to be made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from provisioning import pool
from tenants import facts
from tenants.facts import Fact
from tenants.models import Cluster, Operation
from tenants.models.operations import OPEN_STATES

RECENTLY = timedelta(minutes=5)
# Nothing that was asked for longer ago is looked through for what ended just now.
LONGEST = timedelta(days=1)


def register() -> None:
    """Make them known."""
    facts.register("cluster.pool_ready", pool_ready)
    facts.register("cluster.pool_empty", pool_empty)
    facts.register("fleet.creation_seconds", creation_seconds)


def pool_ready() -> Iterator[Fact]:
    """How many slots wait, of each cluster that has a pool."""
    ready: Counter[int] = Counter()
    for level in pool.levels():
        ready[level.cluster.pk] += level.ready
    for cluster, count in ready.items():
        yield Fact(count, cluster=cluster)


def pool_empty() -> Iterator[Fact]:
    """Whether some template that slots are kept for has none; never so of a cluster without a pool."""
    empty = {level.cluster.pk for level in pool.levels() if level.target and not level.ready}
    for cluster in Cluster.objects.filter(host_cluster=None).values_list("pk", flat=True):
        yield Fact(cluster in empty, cluster=cluster)


def creation_seconds() -> Iterator[Fact]:
    """The longest from request to tenant, of those that were done lately and those that are still under way; 0 when
    there are none. Warm claims are operations like cold starts."""
    now = timezone.now()
    done = Q(state=Operation.State.SUCCEEDED, finished_at__gte=now - RECENTLY, created_at__gte=now - LONGEST)
    rows = Operation.objects.filter(done | Q(state__in=OPEN_STATES), kind="tenant.provision")
    spans = [(finished or now) - created for created, finished in rows.values_list("created_at", "finished_at")]
    yield Fact(max((span.total_seconds() for span in spans), default=0.0))
