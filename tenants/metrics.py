"""What is counted for Prometheus where it happens. No label holds a tenant: their number has no bound.

Counting never fails what is counted: use `quietly`, or functions of this module, which do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import Counter, Histogram

log = logging.getLogger(__name__)

# Fine below a second (warm claims), and around 8 and 10 s, where alerts begin.
SECONDS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 6, 7, 8, 9, 10, 12, 15, 20, 30, 60, 120, 300, 600, 1_800, 3_600,
)  # fmt: skip

OPERATIONS = Counter("controlplane_operations", "Operations that have ended, by kind and outcome.", ["kind", "outcome"])
OPERATION_SECONDS = Histogram(
    "controlplane_operation_duration_seconds", "From an operation's request to its end, waiting included.",
    ["kind", "outcome"], buckets=SECONDS,
)  # fmt: skip
PROVISIONING_SECONDS = Histogram(
    "controlplane_provisioning_duration_seconds",
    "From a tenant's request to its being active, or to the end of the try; warm: a slot was waiting for it.",
    ["path", "outcome"], buckets=SECONDS,
)  # fmt: skip
BACKUP_SECONDS = Histogram(
    "controlplane_backup_duration_seconds", "From a backup's begin to its being read back, waiting included.",
    ["outcome"], buckets=SECONDS,
)  # fmt: skip
RESTORE_SECONDS = Histogram(
    "controlplane_restore_duration_seconds",
    "From a restore's request to its end; kind: in place, as a copy, of tables, to a point in time.",
    ["kind", "outcome"], buckets=SECONDS,
)  # fmt: skip
ATTEMPTS = Counter(
    "controlplane_cross_tenant_attempts", "Tries of tenants at what is not theirs, seen in servers' logs.", ["kind"]
)
NOTIFICATIONS = Counter(
    "controlplane_notifications", "Notifications of alerts, by kind of channel and outcome of the try.",
    ["channel", "outcome"],
)  # fmt: skip


def quietly(count: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Do it, and only log what goes wrong."""
    try:
        count(*args, **kwargs)
    except Exception as error:
        log.warning("metrics.not_counted", extra={"error": f"{type(error).__name__}: {error}"})


def operation_ended(kind: str, outcome: str, seconds: float) -> None:
    """One that has ended, whatever it did."""
    quietly(lambda: OPERATIONS.labels(kind, outcome).inc())
    quietly(lambda: OPERATION_SECONDS.labels(kind, outcome).observe(seconds))


def attempted(counts: Mapping[str, int]) -> None:
    """So many tries at what is not theirs, by kind."""
    for kind, count in counts.items():
        quietly(lambda kind=kind, count=count: ATTEMPTS.labels(kind).inc(count))


def notified(channel: str, outcome: str) -> None:
    """One try to deliver a notification."""
    quietly(lambda: NOTIFICATIONS.labels(channel, outcome).inc())
