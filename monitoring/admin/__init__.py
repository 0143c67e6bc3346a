"""Monitoring in the admin."""

from monitoring.admin.alerts import AlertAdmin

__all__ = ["AlertAdmin"]
