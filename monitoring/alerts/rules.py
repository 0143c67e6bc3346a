"""Rules, changed under audit. What comes with the product is brought up to date; what people changed stays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from monitoring.alerts.shipped import BY_SLUG, SHIPPED, ShippedRule
from monitoring.alerts.text import check_template
from monitoring.catalogue import METRICS, Scope
from monitoring.models import AlertRule
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput, NotFound

# What makes up the condition is changed, kept and reset together: a threshold makes sense for its metric only.
CONDITION = ("scope", "metric", "comparison", "threshold", "clear_threshold")
NARROWING = ("cluster", "plan", "tenant")
OWN = ("name", "for_seconds", "keep_firing_seconds", "severity", "summary", "description", "runbook", "enabled")
EDITABLE = (*CONDITION, *OWN, *NARROWING)
MAX_SILENCE = timedelta(days=90)


def get_rule(text: str | int) -> AlertRule:
    """The rule with this slug or number. Raises NotFound."""
    which = {"pk": int(text)} if str(text).isdecimal() and len(str(text)) < 18 else {"slug": str(text)[:60]}
    rule = AlertRule.objects.filter(**which).first()
    if rule is None:
        raise NotFound(f"There is no rule {str(text)[:60]}.")
    return rule


def sync_shipped(*, actor: Actor, source: Source) -> Counter[str]:
    """Make the rules that come with the product and are not there, and bring the others up to date where nobody has
    changed them. One that does not come with it any more is disabled. Idempotent; returns what was done, by word."""
    done: Counter[str] = Counter()
    for shipped in SHIPPED:
        done[_sync(shipped, actor=actor, source=source)] += 1
    for rule in AlertRule.objects.exclude(shipped="").exclude(shipped__in=BY_SLUG).filter(enabled=True):
        update_rule(rule=rule, changes={"enabled": False}, actor=actor, source=source)
        done["disabled"] += 1
    return done


def _sync(shipped: ShippedRule, *, actor: Actor, source: Source) -> str:
    with transaction.atomic():
        rule = AlertRule.objects.select_for_update(of=("self",)).filter(shipped=shipped.slug).first()
        if rule is None:
            if AlertRule.objects.filter(slug=shipped.slug).exists():
                return "skipped"  # somebody's own rule has its name
            rule = AlertRule(slug=shipped.slug, shipped=shipped.slug, **values_of(shipped))
            try:
                with transaction.atomic():
                    rule.save(force_insert=True)
            except IntegrityError:  # somebody else was as quick
                return "unchanged"
            audit.record("alert_rule.create", actor=actor, source=source, target=rule, after=described(rule))
            return "created"
        wanted = {name: value for name, value in values_of(shipped).items() if name not in rule.edited}
        return (
            "updated" if _apply(rule, wanted, actor=actor, source=source, action="alert_rule.update") else "unchanged"
        )


def values_of(shipped: ShippedRule) -> dict[str, Any]:
    """The columns of a rule as it is delivered."""
    scope, _, metric = shipped.metric.partition(".")
    return {
        "scope": scope, "metric": metric, "comparison": shipped.comparison, "threshold": float(shipped.threshold),
        "clear_threshold": shipped.clear_threshold, "name": shipped.name, "for_seconds": shipped.for_seconds,
        "keep_firing_seconds": shipped.keep_firing_seconds, "severity": shipped.severity, "summary": shipped.summary,
        "description": shipped.description, "runbook": shipped.page, "enabled": True,
    }  # fmt: skip


def create_rule(*, slug: str, changes: Mapping[str, Any], actor: Actor, source: Source) -> AlertRule:
    """A rule of one's own. Raises InvalidInput, Conflict."""
    rule = AlertRule(slug=slug, **dict(changes))
    check(rule)
    try:
        with transaction.atomic():
            rule.save(force_insert=True)
            audit.record("alert_rule.create", actor=actor, source=source, target=rule, after=described(rule))
    except IntegrityError as error:
        raise Conflict("There is a rule of this name.", code="name_taken") from error
    return rule


def update_rule(*, rule: AlertRule, changes: Mapping[str, Any], actor: Actor, source: Source) -> AlertRule:
    """Change a rule; of one that comes with the product this stays over upgrades. Raises InvalidInput."""
    if unknown := set(changes) - set(EDITABLE):
        raise InvalidInput(f"A rule has no {min(unknown)}.", field=min(unknown))
    with transaction.atomic():
        fresh = AlertRule.objects.select_for_update(of=("self",)).get(pk=rule.pk)
        differs = {name for name, value in changes.items() if getattr(fresh, name) != value}
        if fresh.shipped:
            kept = {*fresh.edited, *differs, *(CONDITION if differs & set(CONDITION) else ())}
            fresh.edited = [name for name in EDITABLE if name in kept]
        _apply(fresh, dict(changes), actor=actor, source=source, action="alert_rule.update")
    return fresh


def reset_rule(*, rule: AlertRule, actor: Actor, source: Source) -> AlertRule:
    """Make a rule again as it is delivered. Raises Conflict for one that is not."""
    shipped = BY_SLUG.get(rule.shipped)
    if shipped is None:
        raise Conflict("This rule does not come with the product.", code="not_shipped")
    with transaction.atomic():
        fresh = AlertRule.objects.select_for_update(of=("self",)).get(pk=rule.pk)
        fresh.edited = []
        values = {**values_of(shipped), **dict.fromkeys(NARROWING)}
        if not _apply(fresh, values, actor=actor, source=source, action="alert_rule.reset"):
            fresh.save()
    return fresh


def _apply(rule: AlertRule, values: dict[str, Any], *, actor: Actor, source: Source, action: str) -> bool:
    before = described(rule)
    for name, value in values.items():
        setattr(rule, name, value)
    after = described(rule)
    differs = [name for name, value in after.items() if before[name] != value]
    if not differs:
        return False
    check(rule)
    rule.save()
    audit.record(
        action, actor=actor, source=source, target=rule, before={name: before[name] for name in differs},
        after={name: after[name] for name in differs},
    )  # fmt: skip
    return True


def described(rule: AlertRule) -> dict[str, Any]:
    """A rule's values as the audit log shows them."""
    values = {name: getattr(rule, name) for name in (*CONDITION, *OWN)}
    return values | {name: str(found) if (found := getattr(rule, name)) else None for name in NARROWING}


def check(rule: AlertRule) -> None:
    """Whether a rule makes sense. Raises InvalidInput naming the field."""
    if (rule.scope, rule.metric) not in METRICS:
        raise InvalidInput(f"There is no metric {rule.scope}.{rule.metric}.", field="metric")
    _check_thresholds(rule)
    check_template(rule.summary, field="summary")
    check_template(rule.description, field="description")
    for name in ("summary", "description", "name"):
        if not getattr(rule, name).isprintable():
            raise InvalidInput("One line of text.", field=name)
    _check_narrowing(rule)
    try:
        rule.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, found = next(iter(error.message_dict.items()))
        raise InvalidInput(found[0], field=field) from error


def _check_thresholds(rule: AlertRule) -> None:
    for name in ("threshold", "clear_threshold"):
        value = getattr(rule, name)
        if value is not None and not math.isfinite(value):
            raise InvalidInput("A number.", field=name)
    clear = rule.clear_threshold
    if clear is None:
        return
    beyond = clear > rule.threshold if rule.comparison.startswith(">") else clear < rule.threshold
    if rule.comparison == "==" or beyond:
        raise InvalidInput("An alert ends on the other side of the threshold than it begins.", field="clear_threshold")


def _check_narrowing(rule: AlertRule) -> None:
    possible = {Scope.FLEET: (), Scope.CLUSTER: ("cluster",), Scope.TENANT: NARROWING}[Scope(rule.scope)]
    for name in NARROWING:
        if getattr(rule, f"{name}_id") is not None and name not in possible:
            raise InvalidInput(f"A figure of the {rule.scope} is not of one {name}.", field=name)


def silence_rule(
    *, rule: AlertRule, until: datetime | None, reason: str = "", actor: Actor, source: Source
) -> AlertRule:
    """Tell nobody of a rule's alerts until then; None ends that. What still fires is told afterwards.
    Raises InvalidInput."""
    check_until(until)
    with transaction.atomic():
        fresh = AlertRule.objects.select_for_update(of=("self",)).get(pk=rule.pk)
        before = fresh.silenced_until
        fresh.silenced_until = until
        fresh.silenced_by = actor.label[:150] if until else ""
        fresh.silenced_reason = reason[:500] if until else ""
        fresh.save(update_fields=["silenced_until", "silenced_by", "silenced_reason", "updated_at"])
        audit.record(
            "alert_rule.silence" if until else "alert_rule.unsilence", actor=actor, source=source, target=fresh,
            before={"silenced_until": shown(before)}, after={"silenced_until": shown(until)}, reason=reason,
        )  # fmt: skip
    return fresh


def shown(at: datetime | None) -> str | None:
    """A time as the audit log holds it."""
    return at.isoformat() if at else None


def check_until(until: datetime | None) -> None:
    """Raises InvalidInput unless `until` lies ahead, and not too far."""
    now = timezone.now()
    if until is not None and not now < until <= now + MAX_SILENCE:
        raise InvalidInput(f"A silence ends in the future, after {MAX_SILENCE.days} days at most.", field="until")
