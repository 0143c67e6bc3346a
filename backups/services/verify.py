"""Having backups read back."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from backups.models import Backup
from tenants import audit, operations
from tenants.actors import BEAT, SYSTEM, Actor, Source
from tenants.exceptions import Conflict
from tenants.models import Operation
from tenants.models.operations import OPEN_STATES

VERIFICATIONS_A_TICK = 20
TICKS_A_DAY = 144


def verify_backup(*, backup: Backup, deep: bool = True, actor: Actor, source: Source) -> Operation:
    """Have every copy of a backup read from its first to its last byte; `deep` decrypts and unpacks it, too.

    Raises Conflict when there is nothing to read, or somebody is reading it already.
    """
    if backup.state != Backup.State.SUCCEEDED:
        raise Conflict(f"A backup that is {backup.state} cannot be verified.", code="wrong_state", state=backup.state)
    with transaction.atomic():
        if busy := _open(backup):
            raise Conflict("It is being verified.", code="operation_in_progress", operation=str(busy.pk))
        operation = operations.create(
            "backup.verify", tenant=backup.tenant, cluster=backup.cluster, exclusive=False,
            params={"backup": str(backup.pk), "deep": deep}, actor=actor, source=source,
        )  # fmt: skip
        audit.record("backup.verify_requested", actor=actor, source=source, tenant=backup.tenant, target=backup)
    return operation


def _open(backup: Backup) -> Operation | None:
    rows = Operation.objects.filter(kind="backup.verify", state__in=OPEN_STATES, params__backup=str(backup.pk))
    return rows.first()


def verify_due(limit: int | None = None) -> int:
    """Have those read again that were verified longest ago, or never; as many at a time as it takes to come round to
    all of them. Returns how many."""
    if limit is None:
        there = Backup.objects.filter(state=Backup.State.SUCCEEDED).count()
        limit = max(VERIFICATIONS_A_TICK, 2 * there // (settings.BACKUP_VERIFY_DAYS * TICKS_A_DAY))
    before = timezone.now() - timedelta(days=settings.BACKUP_VERIFY_DAYS)
    due = Backup.objects.filter(Q(verified_at__isnull=True) | Q(verified_at__lt=before), state=Backup.State.SUCCEEDED)
    count = 0
    for backup in due.select_related("tenant", "cluster").order_by(F("verified_at").asc(nulls_first=True))[:limit]:
        try:
            verify_backup(backup=backup, deep=False, actor=SYSTEM, source=BEAT)
            count += 1
        except Conflict:
            continue
    return count
