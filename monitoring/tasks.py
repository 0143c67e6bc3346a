"""Celery's ways in: each wakes a service and nothing more."""

from __future__ import annotations

from celery import shared_task

from monitoring.alerts import evaluate as evaluation
from monitoring.alerts import sending


@shared_task(name="monitoring.evaluate_alerts")
def evaluate_alerts() -> int:
    """Hold all rules against the newest figures."""
    return evaluation.evaluate().changed.total()


@shared_task(name="monitoring.send_notifications")
def send_notifications() -> int:
    """Send what is due."""
    return sending.send_due()
