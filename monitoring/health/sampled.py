"""What samples can say of a tenant's health."""

from __future__ import annotations

from django.utils import timezone

from monitoring.catalogue import metric
from monitoring.models import ProbeState, TenantActivity, TenantSize
from monitoring.models.samples import Sample
from monitoring.readings import PROBES, Reading, latest_of_tenant
from tenants import own_health
from tenants.health import Check, Checker, Status, register, shared
from tenants.models import Tenant

# How long a statement may take on average.
SLOW_SECONDS, TOO_SLOW_SECONDS = 1.0, 5.0
SHOWN = ("connections", "statement_mean_seconds", "statements_per_second", "size_bytes")
ALIVE = (Tenant.State.ACTIVE, Tenant.State.SUSPENDED)


def register_checks() -> None:
    """Make them known."""
    register(Checker("connections", known=connections, look=own_health.connections))
    register(Checker("size", known=size, look=own_health.size))
    register(Checker("slow_queries", known=slow_queries))


def _reading(tenant: Tenant, name: str) -> Reading | None:
    return shared("readings", lambda: latest_of_tenant(tenant.pk, [metric("tenant", each) for each in SHOWN])).get(name)


def _nothing(tenant: Tenant, name: str, sample: type[Sample], unit: str) -> Check:
    """There is no sample of it: since when, and why as far as that is known."""
    place = tenant.cluster.host_cluster_id or tenant.cluster_id
    state = ProbeState.objects.filter(cluster=place, probe=PROBES[sample]).defer("memory").first()
    step = "Look at the cluster's probes: manage.py probe_clusters."
    if state is None or state.ok_at is None:
        return Check(name, Status.UNKNOWN, "No probe has brought figures yet.", step, unit=unit)
    if state.unavailable:
        return Check(name, Status.UNKNOWN, state.unavailable, "Have it installed on the cluster.", unit=unit)
    fresh = (timezone.now() - state.ok_at).total_seconds() < 900
    reason = (
        "The last look brought no figure of it." if fresh else f"No data since {state.ok_at:%Y-%m-%d %H:%M:%S} UTC."
    )
    return Check(name, Status.UNKNOWN, reason, step, unit=unit, taken_at=state.ok_at)


def connections(tenant: Tenant) -> Check | None:
    """As the last look of the probe found them."""
    if tenant.state not in ALIVE:
        return None
    found = _reading(tenant, "connections")
    if found is None:
        return _nothing(tenant, "connections", TenantActivity, "connections")
    limit = float(tenant.effective_limits()["connection_limit"])
    return own_health.of_connections(found.value, limit).but(taken_at=found.taken_at)


def size(tenant: Tenant) -> Check | None:
    """As the last look of the probe found it."""
    if tenant.state not in ALIVE:
        return None
    found = _reading(tenant, "size_bytes")
    if found is None:
        return _nothing(tenant, "size", TenantSize, "bytes")
    return own_health.of_size(found.value, float(tenant.effective_limits()["storage_quota_bytes"])).but(
        taken_at=found.taken_at
    )


def slow_queries(tenant: Tenant) -> Check | None:
    """How long its statements took on average, in seconds; fine while it has run none."""
    if tenant.state not in ALIVE:
        return None
    mean, rate = _reading(tenant, "statement_mean_seconds"), _reading(tenant, "statements_per_second")
    check = Check("slow_queries", Status.OK, "It runs no statements.", "", None, SLOW_SECONDS, "seconds")
    if mean is None:
        if rate is not None and not rate.value:
            return check.but(taken_at=rate.taken_at)
        return _nothing(tenant, "slow_queries", TenantActivity, "seconds")
    check = check.but(value=mean.value, taken_at=mean.taken_at, reason=f"{mean.value:.3f} s on average.")
    if mean.value < SLOW_SECONDS:
        return check
    bad = Status.CRITICAL if mean.value >= TOO_SLOW_SECONDS else Status.WARNING
    return check.but(status=bad, next_step="Look at its worst statements, and at who waits for locks.")
