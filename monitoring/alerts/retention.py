"""How long it is remembered what fired and who was told: as long as daily samples."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from monitoring.models import Alert, Notification

BATCH = 2_000
OVER = (Notification.State.SENT, Notification.State.FAILED)


def forget_old(now: datetime) -> int:
    """Remove alerts that ended, and messages that were made, before that. Returns how many alerts."""
    before = now - timedelta(days=settings.MONITORING_DAILY_DAYS)
    old = Alert.objects.filter(state=Alert.State.RESOLVED, resolved_at__lt=before)
    removed = 0
    while pks := list(old.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        Alert.objects.filter(pk__in=pks).delete()
        removed += len(pks)
    empty = Notification.objects.filter(state__in=OVER, created_at__lt=before, deliveries=None)
    while messages := list(empty.values_list("pk", flat=True)[:BATCH]):
        Notification.objects.filter(pk__in=messages).delete()
    return removed
