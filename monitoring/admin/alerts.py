"""Alerts: what fires, what became of it, and the buttons of whoever looks after it."""

from __future__ import annotations

from django.contrib import admin

from monitoring.models import Alert
from tenants.admin.base import ReadOnlyAdmin


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What rules have found."""
