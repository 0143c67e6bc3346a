"""How an alert goes from state to state: pure functions of a rule, what was known, and the newest figure."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime, timedelta

from monitoring.alerts.figures import Figure
from monitoring.models import Alert, AlertRule

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq,
}  # fmt: skip
State = Alert.State


def holds(rule: AlertRule, figure: Figure) -> bool:
    """Whether the rule's condition is met by this figure."""
    return figure.value is not None and _COMPARE[rule.comparison](figure.value, rule.threshold)


def still_holds(rule: AlertRule, figure: Figure) -> bool:
    """Whether it is not over yet for what fires already: hysteresis."""
    limit = rule.threshold if rule.clear_threshold is None else rule.clear_threshold
    return figure.value is not None and _COMPARE[rule.comparison](figure.value, limit)


def advance(rule: AlertRule, alert: Alert, figure: Figure) -> str | None:
    """Take a figure into account: changes `alert` (which is not saved) and returns its new state, "" when it is gone
    without ever having fired, or None when the state stays.

    A figure that is known already changes nothing: that a condition held for so long is proven by figures only.
    """
    alert.no_data_since = None
    if figure.value is not None:
        alert.value, alert.seen_at = figure.value, max(alert.seen_at, figure.taken_at)
    if alert.state == State.PENDING:
        if not holds(rule, figure):
            return ""
        return State.FIRING if _lasted(alert.held_since, figure.taken_at, rule.for_seconds) else None
    if still_holds(rule, figure):
        alert.clear_since = None
        return None
    alert.clear_since = alert.clear_since or figure.taken_at
    return State.RESOLVED if _lasted(alert.clear_since, figure.taken_at, rule.keep_firing_seconds) else None


def _lasted(since: datetime, until: datetime, seconds: int) -> bool:
    return until - since >= timedelta(seconds=seconds)
