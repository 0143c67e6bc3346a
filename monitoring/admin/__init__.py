"""Monitoring in the admin."""

from monitoring.admin.alerts import AlertAdmin
from monitoring.admin.channels import NotificationAdmin, NotificationChannelAdmin
from monitoring.admin.rules import AlertRuleAdmin

__all__ = ["AlertAdmin", "AlertRuleAdmin", "NotificationAdmin", "NotificationChannelAdmin"]
