"""What tests of monitoring share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.utils import timezone

from monitoring.alerts.evaluate import evaluate
from monitoring.models import AlertRule, Notification, NotificationChannel


@pytest.fixture
def alone(_database_for_all: None) -> Iterator[None]:
    """No rule and no channel but those that the test makes is at work, and nothing waits to be sent: whatever other
    tests have left, also of what shipped rules are about."""
    rules, channels = (list(model.objects.filter(enabled=True)) for model in (AlertRule, NotificationChannel))
    for model in (AlertRule, NotificationChannel):
        model.objects.update(enabled=False)
    evaluate()
    Notification.objects.filter(state__in=["waiting", "sending"]).update(state="failed", closed_at=timezone.now())
    yield
    NotificationChannel.objects.update(enabled=False)
    for model, rows in ((AlertRule, rules), (NotificationChannel, channels)):
        model.objects.filter(pk__in=[row.pk for row in rows]).update(enabled=True)
