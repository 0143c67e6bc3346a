"""Holding every rule against the newest figures. Beat does it every 15 s; several may at once, one of each rule does.

A rule's changes are one transaction: the states of its alerts, their history, and what is to be told of them. Whoever
dies leaves nothing or all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from monitoring.alerts import deliveries, text
from monitoring.alerts.figures import Figure, Figures, Subject, concerns, newest, subjects
from monitoring.alerts.states import advance, holds
from monitoring.catalogue import METRICS, Scope, Unit
from monitoring.models import Alert, AlertRule, AlertTransition
from tenants.postgres import load_queries

State = Alert.State
SEEN = ("id", "value", "seen_at", "clear_since", "no_data_since", "summary", "description")
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
GONE, DISABLED, ELSEWHERE, OVER = (
    "It is gone.",
    "The rule is disabled.",
    "The rule is not about it any more.",
    "It is over.",
)


@dataclass
class Outcome:
    """What an evaluation did. `blind`: rules without any figure, and why."""

    rules: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    blind: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """An alert that enters a state, and why."""

    alert: Alert
    state: str
    reason: str = ""


def evaluate(*, now: datetime | None = None) -> Outcome:
    """Hold all rules against the newest figures. A constant number of queries for each rule that something is to be
    done for, none for the others, however many tenants there are."""
    now = now or timezone.now()
    still_open = AlertRule.objects.filter(alerts__in=Alert.objects.exclude(state=State.RESOLVED)).values("pk")
    rules = list(AlertRule.objects.filter(Q(enabled=True) | Q(pk__in=still_open)))
    found = newest({(rule.scope, rule.metric) for rule in rules}, now)
    open_keys: dict[int, set[str]] = {}
    for pk, subject in Alert.objects.exclude(state=State.RESOLVED).values_list("rule_id", "subject"):
        open_keys.setdefault(pk, set()).add(subject)
    wanted = {rule.pk: open_keys.get(rule.pk, set()) | _holding(rule, found[rule.scope, rule.metric]) for rule in rules}
    known = subjects(set().union(*wanted.values()))
    outcome = Outcome(rules=len(rules))
    for rule in rules:
        figures = found[rule.scope, rule.metric]
        if rule.enabled and figures.trouble:
            outcome.blind[rule.slug] = figures.trouble
        if wanted[rule.pk]:
            outcome.changed.update(_evaluate_rule(rule, figures, known, now))
    _note_evaluated(rules, found, now)
    outcome.changed["reminded"] += deliveries.remind(now)
    return outcome


def would_fire(rule: AlertRule) -> list[tuple[Subject, float]]:
    """For whom a rule, saved or not, holds by the newest figures (whatever `for_seconds` says), worst first."""
    now = timezone.now()
    figures = newest({(rule.scope, rule.metric)}, now)[rule.scope, rule.metric]
    known = subjects(_holding(rule, figures))
    found = [
        (subject, figures.by_subject[key].value or 0.0) for key, subject in known.items() if concerns(rule, subject)
    ]
    return sorted(found, key=lambda pair: pair[1], reverse=rule.comparison.startswith(">"))


def _holding(rule: AlertRule, figures: Figures) -> set[str]:
    return {key for key, figure in figures.by_subject.items() if rule.enabled and holds(rule, figure)}


def _note_evaluated(rules: Sequence[AlertRule], found: dict[tuple[str, str], Figures], now: datetime) -> None:
    """One statement for each reason why there were no figures; mostly one in all."""
    by_trouble: dict[str, list[int]] = {}
    for rule in rules:
        by_trouble.setdefault(found[rule.scope, rule.metric].trouble[:300], []).append(rule.pk)
    for trouble, pks in by_trouble.items():
        earlier = Q(evaluated_at=None) | Q(evaluated_at__lte=now)
        AlertRule.objects.filter(earlier, pk__in=pks).update(evaluated_at=now, trouble=trouble)


def _evaluate_rule(rule: AlertRule, figures: Figures, known: dict[str, Subject], now: datetime) -> Counter[str]:
    """What one rule finds, in one transaction; nothing while another evaluation does it, or has with newer figures."""
    with transaction.atomic():
        fresh = AlertRule.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=rule.pk).first()
        if fresh is None or (fresh.scope, fresh.metric) != (rule.scope, rule.metric):
            return Counter()
        if fresh.evaluated_at is not None and fresh.evaluated_at > now:
            return Counter()
        rule = fresh
        present = {
            alert.subject: alert
            for alert in Alert.objects.select_for_update().filter(rule=rule).exclude(state=State.RESOLVED)
        }
        begun = _begin(rule, figures, known, set(present), now)
        changes = [change for alert in present.values() if (change := _next(rule, alert, figures, known, now))]
        _save_seen(present.values())
        entered = _enter([*begun, *changes], now)
        deliveries.tell(rule, [*present.values(), *(change.alert for change in begun)], known, now)
        AlertRule.objects.filter(pk=rule.pk).update(evaluated_at=now)
    return entered


def _begin(
    rule: AlertRule, figures: Figures, known: dict[str, Subject], present: set[str], now: datetime
) -> list[Change]:
    """New alerts, in the table as pending; those that need not wait are to fire."""
    new = [
        _new(rule, known[key], figures.by_subject[key], now)
        for key in sorted(_holding(rule, figures) - present)
        if key in known and concerns(rule, known[key])
    ]
    Alert.objects.bulk_create(new)
    _note([Change(alert, State.PENDING) for alert in new], now)
    return [Change(alert, State.FIRING) for alert in new if not rule.for_seconds]


def _new(rule: AlertRule, subject: Subject, figure: Figure, now: datetime) -> Alert:
    value = figure.value or 0.0
    return Alert(
        rule=rule, subject=subject.key, subject_label=subject.label[:100], tenant_id=subject.tenant,
        cluster_id=subject.cluster, severity=rule.severity, value=value, seen_at=figure.taken_at,
        held_since=figure.taken_at, created_at=now, **texts(rule, subject, value),
    )  # fmt: skip


def texts(rule: AlertRule, subject: Subject, value: float) -> dict[str, str]:
    """Summary and description of a rule for one subject."""
    metric = METRICS.get((Scope(rule.scope), rule.metric))
    unit = metric.unit if metric else Unit.COUNT
    values = {
        "value": text.figure(value, unit), "threshold": text.figure(rule.threshold, unit), "subject": subject.label,
        "tenant": subject.label if subject.tenant else "", "cluster": subject.cluster_label, "rule": rule.name,
        "severity": rule.severity, "for": text.figure(rule.for_seconds, Unit.SECONDS),
    }  # fmt: skip
    return {
        "summary": text.render(rule.summary, values)[:300],
        "description": text.render(rule.description, values)[:1500],
    }


def _next(rule: AlertRule, alert: Alert, figures: Figures, known: dict[str, Subject], now: datetime) -> Change | None:
    subject = known.get(alert.subject)
    if subject is None or not rule.enabled or not concerns(rule, subject):
        why = GONE if subject is None else ELSEWHERE if rule.enabled else DISABLED
        return Change(alert, State.RESOLVED if alert.fired_at else "", why)
    figure = figures.of(alert.subject, now)
    if figure is None:
        alert.no_data_since = alert.seen_at
        return None
    state = advance(rule, alert, figure)
    if state is None:
        return None
    if state == State.FIRING:
        for name, value in texts(rule, subject, alert.value).items():
            setattr(alert, name, value)
    return Change(alert, state, OVER if state == State.RESOLVED else "")


def _save_seen(alerts: Iterable[Alert]) -> None:
    rows = list(alerts)
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(QUERIES["save_seen"], {name: [getattr(row, name) for row in rows] for name in SEEN})


def _enter(changes: Sequence[Change], now: datetime) -> Counter[str]:
    """The new states, with their history. Raises RuntimeError when an alert has left the state it was locked in."""
    entered: Counter[str] = Counter()
    by_step: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        by_step.setdefault((change.alert.state, change.state, change.reason), []).append(change)
    for (before, state, reason), group in by_step.items():
        rows = Alert.objects.filter(pk__in=[change.alert.pk for change in group], state=before)
        if not state:  # it never fired: nobody was told, and nothing is kept
            rows.delete()
            for change in group:
                change.alert.state = ""
            continue
        values: dict[str, Any] = {"state": state}
        values |= {"fired_at": now} if state == State.FIRING else {"resolved_at": now, "resolution": reason}
        if rows.update(**values) != len(group):
            raise RuntimeError("An alert has changed under its lock.")
        for change in group:
            for name, value in values.items():
                setattr(change.alert, name, value)
        _note(group, now)
        entered[state] += len(group)
    return entered


def _note(changes: Iterable[Change], now: datetime) -> None:
    AlertTransition.objects.bulk_create(
        AlertTransition(alert=change.alert, state=change.state, at=now, value=change.alert.value, reason=change.reason)
        for change in changes
    )
