"""The rules that come with the product, and what people make of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from monitoring.alerts import rules
from monitoring.alerts.shipped import BY_SLUG, SHIPPED
from monitoring.catalogue import METRICS, Scope
from monitoring.models import AlertRule
from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import AuditEvent
from tests.commands.support import call, refusal, text
from tests.monitoring.dials import a_cluster, dial
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


@pytest.fixture
def shipped() -> AlertRule:
    """One of them, as it is delivered."""
    rules.sync_shipped(actor=ACTOR, source=SOURCE)
    rule = AlertRule.objects.get(shipped="disk-full")
    return rules.reset_rule(rule=rule, actor=ACTOR, source=SOURCE)


def update(rule: AlertRule, **changes: Any) -> AlertRule:
    return rules.update_rule(rule=rule, changes=changes, actor=ACTOR, source=SOURCE)


def test_the_five_thresholds_are_among_them() -> None:
    found = {(one.metric, one.comparison, one.threshold, one.severity) for one in SHIPPED}
    assert {
        ("fleet.creation_seconds", ">", 8, "warning"),
        ("fleet.creation_seconds", ">", 10, "critical"),
        ("tenant.cross_tenant_attempts", ">=", 1, "critical"),
        ("tenant.backup_failed", ">=", 1, "critical"),
        ("tenant.connections_used_ratio", ">=", 0.8, "warning"),
    } <= found


def test_each_makes_sense_and_is_named_once() -> None:
    assert len(BY_SLUG) == len(SHIPPED)
    for one in SHIPPED:
        rules.check(AlertRule(slug=one.slug, **rules.values_of(one)))
        scope, _, name = one.metric.partition(".")
        assert METRICS[Scope(scope), name]
        assert one.page
        assert {"fleet": "", "cluster": "{cluster}", "tenant": "{tenant}"}[scope] in one.summary


def test_they_are_made_once() -> None:
    call("sync_alert_rules")
    assert AlertRule.objects.exclude(shipped="").count() >= len(SHIPPED)
    again = call("sync_alert_rules")
    assert (again["created"], again["updated"]) == (0, 0)
    assert "unchanged" in text("sync_alert_rules")


def test_what_people_change_stays_and_the_rest_follows(shipped: AlertRule, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = update(shipped, threshold=0.99)
    assert rule.edited == ["scope", "metric", "comparison", "threshold", "clear_threshold"]
    from dataclasses import replace

    newer = replace(BY_SLUG["disk-full"], threshold=0.5, clear_threshold=0.4, summary="{cluster} is filling")
    monkeypatch.setattr(rules, "SHIPPED", (newer,))
    done = rules.sync_shipped(actor=ACTOR, source=SOURCE)
    rule.refresh_from_db()
    assert (done["updated"], rule.threshold, rule.clear_threshold) == (1, 0.99, 0.85)
    assert rule.summary == "{cluster} is filling"
    monkeypatch.undo()
    rule = rules.reset_rule(rule=rule, actor=ACTOR, source=SOURCE)
    assert (rule.threshold, rule.edited, rule.summary) == (0.9, [], BY_SLUG["disk-full"].summary)
    events = AuditEvent.objects.filter(target_type="alertrule", target_id=str(rule.pk))
    assert {"alert_rule.update", "alert_rule.reset"} <= set(events.values_list("action", flat=True))
    last = events.filter(action="alert_rule.update", after__threshold=0.99).last()
    assert last is not None
    assert last.before == {"threshold": 0.9}


def test_one_that_is_delivered_no_more_is_disabled(shipped: AlertRule) -> None:
    old = AlertRule.objects.create(slug=fresh_slug("old"), shipped=fresh_slug("old"), **rules.values_of(SHIPPED[0]))
    assert rules.sync_shipped(actor=ACTOR, source=SOURCE)["disabled"] == 1
    old.refresh_from_db()
    assert not old.enabled
    assert rules.sync_shipped(actor=ACTOR, source=SOURCE)["disabled"] == 0
    AlertRule.objects.filter(pk=old.pk).update(shipped="")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metric": "nothing"}, "metric"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": float("inf")}, "threshold"),
        ({"clear_threshold": 11.0}, "clear_threshold"),
        ({"comparison": "<", "clear_threshold": 9.0}, "clear_threshold"),
        ({"comparison": "==", "clear_threshold": 10.0}, "clear_threshold"),
        ({"comparison": "=>"}, "comparison"),
        ({"severity": "dire"}, "severity"),
        ({"for_seconds": 700_000}, "for_seconds"),
        ({"for_seconds": -1}, "for_seconds"),
        ({"summary": "{subject.__class__}"}, "summary"),
        ({"summary": "{0}"}, "summary"),
        ({"summary": "{value:>9999999}"}, "summary"),
        ({"summary": "a { b"}, "summary"),
        ({"summary": "two\nlines"}, "summary"),
        ({"summary": ""}, "summary"),
        ({"runbook": "../../etc/passwd"}, "runbook"),
        ({"slug": "other"}, "slug"),
        ({"plan": "plan"}, "plan"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(plan: Any, changes: dict[str, Any], field: str) -> None:
    with dial() as gauge:
        rule = gauge.rule()
        with pytest.raises(InvalidInput) as caught:
            update(rule, **{name: plan if value == "plan" else value for name, value in changes.items()})
        assert caught.value.field == field
        rule.refresh_from_db()
        assert (rule.threshold, rule.clear_threshold, rule.comparison) == (10.0, None, ">")


def test_a_value_with_braces_stays_as_it_is() -> None:
    from monitoring.alerts.text import render

    assert render("{subject} {value}", {"subject": "{value}", "value": "1"}) == "{value} 1"


def test_names_and_unknown_rules() -> None:
    with dial() as gauge:
        rule = gauge.rule()
        with pytest.raises(Conflict) as caught:
            rules.create_rule(slug=rule.slug, changes=rules.values_of(SHIPPED[0]), actor=ACTOR, source=SOURCE)
        assert caught.value.code == "name_taken"
        with pytest.raises(Conflict) as caught:
            rules.reset_rule(rule=rule, actor=ACTOR, source=SOURCE)
        assert caught.value.code == "not_shipped"
        assert rules.get_rule(rule.pk) == rules.get_rule(rule.slug) == rule
        with pytest.raises(NotFound):
            rules.get_rule("nothing")


def test_the_commands(plan: Any) -> None:
    with dial() as gauge:
        rule, cluster = gauge.rule(severity="critical"), a_cluster()
        gauge.values = {cluster.pk: 11}
        assert call("evaluate_alerts")["changed"]["firing"] >= 1
        assert "nothing" in text("evaluate_alerts") or "rules" in text("evaluate_alerts")
        [alert] = call("list_alerts", "--rule", rule.slug, "--cluster", cluster.name)["alerts"]
        assert (alert["state"], alert["subject_label"], alert["value_text"]) == ("firing", cluster.name, "11")
        assert alert["summary"] in text("list_alerts", "--rule", rule.slug).replace("\n", " ")
        assert call("silence_alert", str(alert["id"]), "--for", "4h", "--reason", "work")["silenced"]
        assert not call("silence_alert", str(alert["id"]), "--end")["silenced"]
        assert call("acknowledge_alert", str(alert["id"]), "--note", "mine")["note"] == "mine"
        assert refusal("acknowledge_alert", str(alert["id"]))[1].code == "alert_not_firing"
        assert refusal("acknowledge_alert", "0")[1].code == "not_found"
        assert call("silence_alert_rule", rule.slug, "--for", "1h")["silenced_until"]
        assert refusal("silence_alert_rule", rule.slug, "--for", "400d")[1].code == "invalid"
        assert call("silence_alert_rule", rule.slug, "--end")["silenced_until"] is None
        assert rule.slug in [row["slug"] for row in call("list_alert_rules")["rules"]]
        assert "critical" in text("list_alert_rules")
        gauge.values = {cluster.pk: 1}
        evaluated = call("evaluate_alerts", "--send")
        assert evaluated["changed"]["resolved"] >= 1
        assert call("list_alerts", "--rule", rule.slug)["alerts"] == []
        assert len(call("list_alerts", "--rule", rule.slug, "--state", "resolved")["alerts"]) == 1


def test_rows_refuse_what_services_would_not_write() -> None:
    from django.db import IntegrityError

    for name, value in (("scope", "world"), ("severity", "dire"), ("comparison", "!=")):
        values = {**rules.values_of(SHIPPED[0]), name: value}
        with pytest.raises(IntegrityError), transaction.atomic():
            AlertRule.objects.create(slug=fresh_slug("bad"), **values)


def test_a_condition_is_written_out() -> None:
    rule = AlertRule(scope="cluster", metric="certificate_expiry_seconds", comparison="<", threshold=14 * 86_400)
    assert rule.condition == "cluster.certificate_expiry_seconds < 1209600"
