"""What was measured, when, and by whom."""

from monitoring.models.alerts import Alert, AlertRule, AlertTransition, Severity
from monitoring.models.channels import Delivery, Notification, NotificationChannel
from monitoring.models.health import TenantLook
from monitoring.models.probes import ProbeCounters, ProbeState
from monitoring.models.samples import (
    ClusterSample,
    ClusterSample5m,
    ClusterSampleDaily,
    FleetSample,
    FleetSample5m,
    FleetSampleDaily,
    TenantActivity,
    TenantActivity5m,
    TenantActivityDaily,
    TenantSize,
    TenantSize5m,
    TenantSizeDaily,
)

__all__ = [
    "Alert",
    "AlertRule",
    "AlertTransition",
    "ClusterSample",
    "ClusterSample5m",
    "ClusterSampleDaily",
    "Delivery",
    "FleetSample",
    "FleetSample5m",
    "FleetSampleDaily",
    "Notification",
    "NotificationChannel",
    "ProbeCounters",
    "ProbeState",
    "Severity",
    "TenantActivity",
    "TenantActivity5m",
    "TenantActivityDaily",
    "TenantLook",
    "TenantSize",
    "TenantSize5m",
    "TenantSizeDaily",
]
