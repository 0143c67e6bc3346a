"""Alerts, rules and channels as documents: the same for commands and REST. Never a secret."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from monitoring.alerts.messages import alert_url
from monitoring.alerts.text import figure, runbook_url
from monitoring.catalogue import METRICS, Scope, Unit
from monitoring.models import Alert, AlertRule, NotificationChannel


def unit_of(rule: AlertRule) -> Unit:
    """Of the figures of a rule's metric."""
    metric = METRICS.get((Scope(rule.scope), rule.metric))
    return metric.unit if metric else Unit.COUNT


def alert(row: Alert) -> dict[str, Any]:
    """An alert; its rule, tenant and cluster are looked up."""
    return {
        "id": row.pk,
        "rule": row.rule.slug,
        "state": row.state,
        "severity": row.severity,
        "subject": row.subject,
        "subject_label": row.subject_label,
        "tenant": row.tenant_id,
        "cluster": row.cluster.name if row.cluster else None,
        "summary": row.summary,
        "description": row.description,
        "condition": row.rule.condition,
        "value": row.value,
        "value_text": figure(row.value, unit_of(row.rule)),
        "seen_at": row.seen_at,
        "no_data_since": row.no_data_since,
        "held_since": row.held_since,
        "fired_at": row.fired_at,
        "acknowledged_at": row.acknowledged_at,
        "acknowledged_by": row.acknowledged_by,
        "note": row.note,
        "resolved_at": row.resolved_at,
        "resolution": row.resolution,
        "silenced": row.is_silenced(timezone.now()),
        "silenced_until": row.silenced_until,
        "runbook_url": runbook_url(row.rule.runbook),
        "url": alert_url(row),
    }


def rule(row: AlertRule) -> dict[str, Any]:
    """A rule."""
    return {
        "id": row.pk,
        "slug": row.slug,
        "name": row.name,
        "scope": row.scope,
        "metric": row.metric,
        "comparison": row.comparison,
        "threshold": row.threshold,
        "clear_threshold": row.clear_threshold,
        "for_seconds": row.for_seconds,
        "keep_firing_seconds": row.keep_firing_seconds,
        "cluster": row.cluster.name if row.cluster else None,
        "plan": row.plan.slug if row.plan else None,
        "tenant": row.tenant_id,
        "severity": row.severity,
        "summary": row.summary,
        "description": row.description,
        "runbook": row.runbook,
        "runbook_url": runbook_url(row.runbook),
        "enabled": row.enabled,
        "silenced_until": row.silenced_until,
        "silenced_by": row.silenced_by,
        "silenced_reason": row.silenced_reason,
        "shipped": bool(row.shipped),
        "edited": list(row.edited),
        "evaluated_at": row.evaluated_at,
        "trouble": row.trouble,
    }


def channel(row: NotificationChannel) -> dict[str, Any]:
    """A channel: where to, not by which URL."""
    return {
        "id": row.pk,
        "name": row.name,
        "kind": row.kind,
        "enabled": row.enabled,
        "place": ", ".join(row.recipients) or row.place,
        "min_severity": row.min_severity,
        "send_resolved": row.send_resolved,
        "cluster": row.cluster.name if row.cluster else None,
        "plan": row.plan.slug if row.plan else None,
        "tenant": row.tenant_id,
        "signed": bool(row.secret),
        "worked_at": row.worked_at,
        "failed_at": row.failed_at,
        "last_error": row.last_error,
    }
