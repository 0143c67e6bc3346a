"""What fires now, on the boards: with its runbook and, for who may, a button that says that somebody looks after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, Count, Max, Value, When
from django.http import HttpRequest
from django.urls import reverse

from monitoring.alerts.text import figure, runbook_url
from monitoring.catalogue import METRICS, Scope, Unit
from monitoring.models import Alert, AlertRule
from monitoring.models.alerts import Severity

_URGENT_FIRST = Case(
    When(severity=Severity.CRITICAL, then=Value(0)), When(severity=Severity.WARNING, then=Value(1)), default=Value(2)
)
_TONES = {Severity.CRITICAL: "danger", Severity.WARNING: "warning", Severity.INFO: "info"}
SHOWN = 10


@dataclass(frozen=True)
class Firing:
    """An alert that fires or is acknowledged."""

    alert: Alert
    figure: str
    tone: str
    runbook: str
    url: str


@dataclass(frozen=True)
class FiringAlerts:
    """The most urgent ones, how many there are in all, and when the rules were last evaluated: no evaluation since long
    is no good news."""

    rows: list[Firing]
    total: int
    evaluated_at: datetime | None
    may_acknowledge: bool

    @property
    def beyond(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


def firing(request: HttpRequest, **of: Any) -> FiringAlerts | None:
    """Of a tenant, of a cluster (`tenant=…`, `cluster=…`) or of all; None for who may not see any. Three queries."""
    if not request.user.has_perm("monitoring.view_alert"):
        return None
    found = Alert.objects.filter(state__in=[Alert.State.FIRING, Alert.State.ACKNOWLEDGED], **of)
    rows = found.select_related("rule").order_by(_URGENT_FIRST, "-state", "fired_at", "pk")[:SHOWN]
    return FiringAlerts(
        [_shown(alert) for alert in rows],
        found.aggregate(count=Count("pk"))["count"],
        AlertRule.objects.filter(enabled=True).aggregate(at=Max("evaluated_at"))["at"],
        request.user.has_perm("monitoring.acknowledge_alert"),
    )


def _shown(alert: Alert) -> Firing:
    measured = METRICS.get((Scope(alert.rule.scope), alert.rule.metric))
    return Firing(
        alert,
        figure(alert.value, measured.unit if measured else Unit.COUNT),
        _TONES[Severity(alert.severity)],
        runbook_url(alert.rule.runbook),
        reverse("admin:monitoring_alert_change", args=[alert.pk]),
    )
