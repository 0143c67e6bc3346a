"""How a tenant is: every check of it, from what is known or by looking now."""

from monitoring.health.looks import look_at, rotate
from monitoring.health.service import Health, live_health, tenant_health

__all__ = ["Health", "live_health", "look_at", "rotate", "tenant_health"]
