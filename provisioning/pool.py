"""The warm pool: slots that wait, so that a new tenant waits for nothing.

Its level is kept for each cluster and the newest version of each template; slots of older versions are retired.
Filling yields to tenants that wait for a cold start, and never builds more at a time than the cluster bears.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, F, Max, OuterRef, Q, Subquery
from django.utils import timezone

from provisioning import slots
from provisioning.models import SchemaSlot, TemplateVersion
from tenants import rows
from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster, Operation, Tenant
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
log = logging.getLogger(__name__)
State = SchemaSlot.State
# More claims than this within POOL_REFILL_DELAY_SECONDS are a rush: a core builds about two slots a second.
RUSH = 6


@dataclass(frozen=True)
class Level:
    """How full the pool of one (cluster, template version) is."""

    cluster: Cluster
    version: TemplateVersion
    ready: int
    building: int
    target: int


def claim_slot(cluster: Cluster, version: TemplateVersion, tenant: Tenant) -> SchemaSlot | None:
    """Give `tenant` (not saved yet) the oldest ready slot, inside the caller's transaction; None when there is none.

    Others that claim at the same moment take the next. The slot still holds the secret, which its row has lost.
    """
    values = {"cluster": cluster.pk, "version": version.pk, "tenant": tenant.pk, "now": timezone.now()}
    slot: SchemaSlot | None = rows.select_one(QUERIES["claim_slot"], {"chosen": SchemaSlot}, values)["chosen"]
    if slot is None:
        return None
    tenant.schema_name = slot.schema_name
    slot.state, slot.claimed_at = State.CLAIMED, values["now"]
    slot.cluster, slot.template_version, slot.tenant = cluster, version, tenant
    return slot


def current_versions() -> list[TemplateVersion]:
    """The newest version of each template."""
    newest = TemplateVersion.objects.filter(template=OuterRef("template")).order_by("-number").values("pk")[:1]
    return list(TemplateVersion.objects.filter(pk=Subquery(newest)).select_related("template").defer("script"))


def levels() -> list[Level]:
    """The pool of every active cluster and current version, by four queries however many there are."""
    waiting = SchemaSlot.objects.filter(state__in=[State.READY, State.BUILDING], tenant=None)
    counted: dict[tuple[int, int], Any] = {
        (row["cluster"], row["template_version"]): row
        for row in waiting.values("cluster", "template_version").annotate(
            ready=Count("pk", filter=Q(state=State.READY)), building=Count("pk", filter=Q(state=State.BUILDING))
        )
    }
    living = Tenant.objects.exclude(state=Tenant.State.PURGED).order_by()
    used = set(living.values_list("cluster", "template").distinct())
    versions = current_versions()
    return [
        Level(cluster, version, found.get("ready", 0), found.get("building", 0), _target(cluster, version, used))
        for cluster in Cluster.objects.filter(state=Cluster.State.ACTIVE, dedicated=False).select_related("provisioner")
        for version in versions
        for found in [counted.get((cluster.pk, version.pk), {})]
    ]


def _target(cluster: Cluster, version: TemplateVersion, used: set[tuple[int, str]]) -> int:
    """How many slots to keep: the cluster's target for the default template, and two for others that are used there."""
    if version.template.is_default:
        return cluster.pool_target
    return min(cluster.pool_target, 2) if (cluster.pk, version.template.name) in used else 0


def _reserve(cluster: Cluster, version: TemplateVersion, target: int) -> SchemaSlot | None:
    """The row of the next slot to build, or None when the pool is full or enough are being built already."""
    with transaction.atomic():
        locked = Cluster.objects.select_for_update().get(pk=cluster.pk)
        alive = SchemaSlot.objects.filter(cluster=locked, tenant=None)
        building = alive.filter(state=State.BUILDING, lease_expires_at__gte=timezone.now())
        have = alive.filter(template_version=version, state=State.READY).count()
        if building.count() >= locked.max_parallel:
            return None
        if have + building.filter(template_version=version).count() >= target:
            return None
        return slots.reserve(locked, version)


def tenants_wait() -> bool:
    """Whether somebody waits for a cold start: then the pool can wait."""
    return Operation.objects.filter(kind="tenant.provision", state=Operation.State.PENDING).exists()


def fill_one(cluster: Cluster, version: TemplateVersion, target: int) -> bool:
    """Build one slot if the pool lacks one. A slot that cannot be built is taken away again; the error is raised."""
    slot = _reserve(cluster, version, target)
    if slot is None:
        return False
    slot.cluster, slot.template_version = cluster, version
    try:
        return slots.build(slot)
    except Exception:
        SchemaSlot.objects.filter(pk=slot.pk).update(state=State.RETIRING)
        raise


def _calm(level: Level) -> bool:
    """Whether filling would be in nobody's way, or so little is left that it must be.

    Building a slot takes as much from the server as dozens of claims. So it waits until none has been claimed for a
    while; below a third of the target it waits only for a rush that no building keeps up with. Slots are claimed in
    the order of their ids, so the newest of the claimed ones tell.
    """
    since = timezone.now() - timedelta(seconds=settings.POOL_REFILL_DELAY_SECONDS)
    claimed = SchemaSlot.objects.filter(
        state=State.CLAIMED, cluster=level.cluster, template_version=level.version
    ).order_by("-id")
    newest = claimed.values_list("claimed_at", flat=True)[: RUSH + 1]
    recent = sum(1 for moment in newest if moment and moment >= since)
    low = 3 * (level.ready + level.building) < level.target
    return recent <= RUSH if low else recent == 0


def fill_pools(*, limit: int | None = None) -> int:
    """Bring every pool to its target, or build `limit` slots at most. Returns how many were built.

    A pool that is being claimed from is left alone until no slot of it has been claimed for POOL_REFILL_DELAY_SECONDS;
    one that runs low only during a rush.
    """
    built = 0
    for level in filter(_calm, levels()):
        while (limit is None or built < limit) and not tenants_wait():
            try:
                if not fill_one(level.cluster, level.version, level.target):
                    break
            except ControlPlaneError as error:
                log.warning("pool.build_failed", extra={"cluster": level.cluster.name, "error": str(error)})
                break
            built += 1
    return built


def refill_soon(cluster: Cluster) -> None:
    """Have the pool filled shortly; many claims within that time ask only once. Beat would come to it anyway."""
    from provisioning.tasks import fill_pools as task  # Celery entry points import this module

    delay = settings.POOL_REFILL_DELAY_SECONDS
    try:
        if cache.add(f"controlplane:refill:{cluster.pk}", True, timeout=max(1, int(delay))):
            task.apply_async(countdown=delay, retry=False)
    except Exception as error:  # Redis may be down; beat fills the pool
        log.warning("pool.refill_not_sent", extra={"error": type(error).__name__})


def retire_stale() -> int:
    """Mark ready slots of versions that are no longer current, and of clusters reserved for one. Returns how many."""
    newest = (
        TemplateVersion.objects.filter(template=OuterRef("template_version__template"))
        .values("template")
        .annotate(newest=Max("number"))
        .values("newest")
    )
    stale = (
        SchemaSlot.objects.filter(state=State.READY)
        .annotate(newest=Subquery(newest))
        .filter(Q(template_version__number__lt=F("newest")) | Q(cluster__dedicated=True))
    )
    return SchemaSlot.objects.filter(pk__in=stale.values("pk"), state=State.READY).update(state=State.RETIRING)


def reap_slots() -> int:
    """Take away slots that are retired or whose builder died. Returns how many."""
    retire_stale()
    SchemaSlot.objects.filter(state=State.BUILDING, tenant=None, lease_expires_at__lt=timezone.now()).update(
        state=State.RETIRING
    )
    count = 0
    for slot in SchemaSlot.objects.filter(state=State.RETIRING, tenant=None).select_related("cluster__provisioner"):
        try:
            slots.remove(slot)
            count += 1
        except ControlPlaneError as error:
            log.warning("pool.reap_failed", extra={"schema": slot.schema_name, "error": str(error)})
    return count
