"""How well a tenant could be restored: what the last drill proved, and how long it would take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backups.models import Backup, BackupStatus, RestoreDrill
from backups.services.kept import kept_of_tenant
from backups.services.preview import Expected, expected_seconds
from tenants.models import Tenant

State = RestoreDrill.State


@dataclass(frozen=True)
class Recovery:
    """As far as it is known. `failed_at` and `failure` are of a drill that none succeeded since."""

    backup: UUID | None
    covered_until: datetime | None
    proven_at: datetime | None
    proven_backup: UUID | None
    proven_seconds: float | None
    failed_at: datetime | None
    failure: str
    expected: Expected | None
    kept_schema: int | None


def _newest_good(tenant: Tenant) -> Backup | None:
    return Backup.objects.filter(origin_id=tenant.pk, state=Backup.State.SUCCEEDED, damaged_at__isnull=True).first()


def expected_of(tenant: Tenant) -> Expected | None:
    """How long a restore of the tenant's newest good backup takes; None without one."""
    good = _newest_good(tenant)
    return expected_seconds(good.raw_bytes, tenant.cluster) if good else None


def of_tenant(tenant: Tenant) -> Recovery:
    """What there is to say of a tenant."""
    good = _newest_good(tenant)
    status = BackupStatus.objects.filter(tenant=tenant).first()
    over = RestoreDrill.objects.filter(tenant=tenant, finished_at__isnull=False).order_by("-finished_at")
    proven, last = over.filter(state=State.SUCCEEDED).first(), over.first()
    failed = last if last is not None and last.state == State.FAILED else None
    kept = kept_of_tenant(tenant)
    return Recovery(
        backup=good.pk if good else None,
        covered_until=status.covered_until if status else None,
        proven_at=proven.finished_at if proven else None,
        proven_backup=proven.backup_id if proven else None,
        proven_seconds=proven.seconds if proven else None,
        failed_at=failed.finished_at if failed else None,
        failure=failed.error if failed else "",
        expected=expected_seconds(good.raw_bytes, tenant.cluster) if good else None,
        kept_schema=kept.pk if kept else None,
    )
