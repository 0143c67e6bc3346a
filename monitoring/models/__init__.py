"""What was measured, when, and by whom."""

from monitoring.models.probes import ProbeState
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
    "ClusterSample",
    "ClusterSample5m",
    "ClusterSampleDaily",
    "FleetSample",
    "FleetSample5m",
    "FleetSampleDaily",
    "ProbeState",
    "TenantActivity",
    "TenantActivity5m",
    "TenantActivityDaily",
    "TenantSize",
    "TenantSize5m",
    "TenantSizeDaily",
]
