"""What the registry itself knows that others watch: attempts, isolation, the audit log, keys, certificates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import F, Q, Sum
from django.utils import timezone

from tenants import certificates, facts
from tenants.facts import Fact
from tenants.models import ApiKey, AuditVerification, Cluster, IsolationAttempt, IsolationCheck, Tenant

LATELY = timedelta(minutes=10)
# A key that nobody has used for so long may end without anybody noticing.
IN_USE = timedelta(days=30)
# As far as is looked: what never ends, ends after this.
TEN_YEARS = timedelta(days=3653).total_seconds()


def register() -> None:
    """Make them known."""
    facts.register("tenant.cross_tenant_attempts", cross_tenant_attempts)
    facts.register("cluster.isolation_failed", isolation_failed)
    facts.register("cluster.isolation_degraded", isolation_degraded)
    facts.register("cluster.certificate_expiry_seconds", certificate_expiry)
    facts.register("fleet.audit_chain_broken", audit_chain_broken)
    facts.register("fleet.key_expiry_seconds", key_expiry)


def cross_tenant() -> Q:
    """Attempts of a tenant's login at what belongs to another tenant, by whichever way."""
    another = Q(kind=IsolationAttempt.Kind.FOREIGN_OBJECT) | Q(target__isnull=False)
    return another & Q(attacker__isnull=False) & (Q(target=None) | ~Q(target=F("attacker")))


def cross_tenant_attempts() -> Iterator[Fact]:
    """How many of each tenant, 0 included. Those that follow each other are one row and count from its first."""
    lately = IsolationAttempt.objects.filter(cross_tenant(), last_at__gte=timezone.now() - LATELY).order_by()
    found = dict(lately.values_list("attacker").annotate(tries=Sum("count")))
    for tenant in Tenant.objects.exclude(state=Tenant.State.PURGED).order_by().values_list("pk", flat=True):
        yield Fact(found.get(tenant, 0), tenant=tenant)


def isolation_failed() -> Iterator[Fact]:
    """Whether the last check found something critical, or could not see all it has to; of those with one."""
    last = IsolationCheck.objects.order_by("cluster_id", "-started_at", "-id").distinct("cluster_id")
    for check in last:
        yield Fact(not check.ok, cluster=check.cluster_id)


def isolation_degraded() -> Iterator[Fact]:
    """Whether each cluster is more open than it was prepared to be."""
    for cluster in Cluster.objects.filter(host_cluster=None):
        yield Fact(bool(cluster.isolation_warning), cluster=cluster.pk)


def certificate_expiry() -> Iterator[Fact]:
    """In seconds, of clusters that are spoken to by TLS, as beat saw it last; negative once it is over."""
    now = timezone.now()
    for cluster, ends_at in certificates.known().items():
        yield Fact((ends_at - now).total_seconds(), cluster=cluster)


def audit_chain_broken() -> Iterator[Fact]:
    """Whether the last verification, or the last of the whole log, found it changed; nothing while there was none."""
    last = AuditVerification.objects.first()
    whole = AuditVerification.objects.filter(full=True).first()
    if found := [row for row in (last, whole) if row is not None]:
        yield Fact(not all(row.ok for row in found))


def key_expiry() -> Iterator[Fact]:
    """In seconds, of the first to end of those that were used within 30 days; ten years at most."""
    now = timezone.now()
    used = ApiKey.objects.filter(revoked_at=None, expires_at__gt=now, last_used_at__gte=now - IN_USE)
    first = used.order_by("expires_at").values_list("expires_at", flat=True).first()
    left = (first - now).total_seconds() if first else TEN_YEARS
    yield Fact(min(left, TEN_YEARS))
