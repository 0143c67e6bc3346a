"""What backups know that others watch: how old, overdue, failed or unproven each tenant's are.

Every tenant that is not purged has a figure of each yes-or-no question, so that a "no" is told and not left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from backups.models import BackupStatus, RestoreDrill, Storage
from backups.services.due import SCHEDULED
from tenants import facts
from tenants.facts import Fact
from tenants.models import Tenant

# A new tenant's first backup is given so long.
FIRST_BACKUP = timedelta(days=1)


def register() -> None:
    """Make them known."""
    facts.register("tenant.backup_age_seconds", backup_age)
    facts.register("tenant.backup_overdue", backup_overdue)
    facts.register("tenant.backup_missing", backup_missing)
    facts.register("tenant.backup_failed", backup_failed)
    facts.register("tenant.restore_drill_failed", restore_drill_failed)
    facts.register("tenant.proven_restore_age_seconds", proven_restore_age)
    facts.register("fleet.backups_failed", backups_failed)
    facts.register("fleet.storage_failed", storage_failed)


def backup_age() -> Iterator[Fact]:
    """In seconds; of tenants that have a backup, or whose policy wants one."""
    now = timezone.now()
    rows = BackupStatus.objects.filter(tenant__state__in=SCHEDULED)
    known = rows.exclude(covered_until=None, overdue_at=None)
    for tenant, covered_until, created_at in known.values_list("tenant_id", "covered_until", "tenant__created_at"):
        yield Fact((now - (covered_until or created_at)).total_seconds(), tenant=tenant)


def backup_overdue() -> Iterator[Fact]:
    """Whether the newest good one is older than the policy's `alert_after_hours`."""
    yield from _each(Q(backup_status__overdue_at__lte=timezone.now(), state__in=SCHEDULED))


def backup_missing() -> Iterator[Fact]:
    """Whether one that is a day old has none, though its policy wants one. Who has no status, for no scheduler runs,
    misses it too."""
    wanted = Q(backup_status=None) | Q(backup_status__covered_until=None, backup_status__overdue_at__isnull=False)
    yield from _each(wanted & Q(created_at__lte=timezone.now() - FIRST_BACKUP, state__in=SCHEDULED))


def backup_failed() -> Iterator[Fact]:
    """Whether there was none that succeeded since the last one that failed."""
    yield from _each(Q(backup_status__failures__gt=0, state__in=SCHEDULED))


def restore_drill_failed() -> Iterator[Fact]:
    """Whether the last one that has ended failed."""
    ended = RestoreDrill.objects.exclude(state=RestoreDrill.State.RUNNING).exclude(tenant=None)
    last = ended.order_by("tenant_id", "-started_at", "-id").distinct("tenant_id")
    failed = {tenant for tenant, state in last.values_list("tenant_id", "state") if state == "failed"}
    for tenant in _tenants().values_list("pk", flat=True):
        yield Fact(tenant in failed, tenant=tenant)


def proven_restore_age() -> Iterator[Fact]:
    """In seconds; of tenants a backup of which was ever restored and compared."""
    now = timezone.now()
    proven = BackupStatus.objects.filter(last_proven_at__isnull=False, tenant__state__in=SCHEDULED)
    for tenant, proven_at in proven.values_list("tenant_id", "last_proven_at"):
        if proven_at is not None:
            yield Fact((now - proven_at).total_seconds(), tenant=tenant)


def backups_failed() -> Iterator[Fact]:
    """How many tenants' last backup failed."""
    yield Fact(BackupStatus.objects.filter(failures__gt=0, tenant__state__in=SCHEDULED).count())


def storage_failed() -> Iterator[Fact]:
    """How many storages did not answer when they were last tried (see `storages.watch_all`)."""
    yield Fact(Storage.objects.filter(state=Storage.State.ACTIVE).exclude(last_error="").count())


def _tenants() -> QuerySet[Tenant]:
    return Tenant.objects.exclude(state=Tenant.State.PURGED).order_by()


def _each(condition: Q) -> Iterator[Fact]:
    """1 of each tenant for which it holds, 0 of the others; by two queries."""
    found = set(Tenant.objects.filter(condition).order_by().values_list("pk", flat=True))
    for tenant in _tenants().values_list("pk", flat=True):
        yield Fact(tenant in found, tenant=tenant)
