"""Small sweeps over the registry itself."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from tenants.models import IdempotencyRecord

IDEMPOTENCY_HOURS = 24


def forget_old_requests() -> int:
    """Delete answers kept for Idempotency-Key for more than 24 hours. Returns how many."""
    limit = timezone.now() - timedelta(hours=IDEMPOTENCY_HOURS)
    return IdempotencyRecord.objects.filter(created_at__lt=limit).delete()[0]
