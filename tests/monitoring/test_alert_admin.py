"""Alerts, rules, channels and runbooks in the admin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from monitoring.alerts import rules
from monitoring.alerts.evaluate import evaluate
from monitoring.alerts.shipped import SHIPPED
from monitoring.models import Alert, AlertRule, NotificationChannel
from tests.admin.conftest import browse, groups, person  # noqa: F401  (fixtures)
from tests.admin.support import events, form_errors, text_of, url
from tests.monitoring.dials import Dial, a_cluster, dial
from tests.monitoring.receivers import http_receiver
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


@pytest.fixture
def gauge() -> Iterator[Dial]:
    with dial() as made:
        yield made


def firing(gauge: Dial, **values: Any) -> Alert:
    rule = gauge.rule(severity="critical", runbook="disk-full", **values)
    gauge.values = {a_cluster().pk: 11}
    evaluate()
    return Alert.objects.get(rule=rule)


def test_an_alert_is_found_acknowledged_and_silenced(browse: Any, gauge: Dial) -> None:  # noqa: F811
    alert, client = firing(gauge), browse("operator")
    listed = text_of(client.get(url("monitoring_alert_changelist") + f"?q={alert.rule.slug}"))
    for shown in (alert.summary, "critical", "firing", "disk-full"):
        assert shown in listed
    page = client.get(url("monitoring_alert_change", alert.pk))
    for shown in (alert.summary, alert.rule.condition, "pending", "Acknowledge", "Silence 4h"):
        assert shown in text_of(page), shown
    assert b'/admin/runbooks/disk-full"' in page.content
    client.post(url("monitoring_alert_silence", alert.pk), {"for": "4h"})
    assert "silenced" in text_of(client.get(url("monitoring_alert_changelist") + f"?q={alert.rule.slug}"))
    client.post(url("monitoring_alert_silence", alert.pk), {"for": "end"})
    client.post(url("monitoring_alert_silence", alert.pk), {"for": "9y"})
    alert.refresh_from_db()
    assert alert.silenced_until is None
    client.post(url("monitoring_alert_acknowledge", alert.pk), {"note": "on it"})
    alert.refresh_from_db()
    assert (alert.state, alert.acknowledged_by, alert.note) == ("acknowledged", client.person.username, "on it")
    assert events("alert.acknowledge", target_id=str(alert.pk)).count() == 1
    again = client.post(url("monitoring_alert_acknowledge", alert.pk), follow=True)
    assert "only one that fires" in text_of(again)
    gauge.values = {}
    evaluate()
    assert alert.summary not in text_of(client.get(url("monitoring_alert_changelist") + f"?q={alert.rule.slug}"))
    resolved = client.get(url("monitoring_alert_changelist") + f"?q={alert.rule.slug}&state=resolved")
    assert alert.summary in text_of(resolved)
    assert "It is over." in text_of(client.get(url("monitoring_alert_change", alert.pk)))


def test_an_old_figure_is_not_shown_as_new(browse: Any, gauge: Dial) -> None:  # noqa: F811
    alert = firing(gauge)
    gauge.broken = True
    evaluate()
    client = browse("viewer")
    assert "no data since" in text_of(client.get(url("monitoring_alert_changelist") + f"?q={alert.rule.slug}"))
    assert "There are no newer figures" in text_of(client.get(url("monitoring_alert_change", alert.pk)))
    assert "ConnectionError" in text_of(client.get(url("monitoring_alertrule_change", alert.rule_id)))


def test_viewers_look_and_do_nothing(browse: Any, gauge: Dial) -> None:  # noqa: F811
    alert, client = firing(gauge), browse("viewer")
    page = text_of(client.get(url("monitoring_alert_change", alert.pk)))
    assert "Silence" not in page
    assert client.post(url("monitoring_alert_acknowledge", alert.pk)).status_code == 403
    assert client.post(url("monitoring_alert_silence", alert.pk), {"for": "1h"}).status_code == 403
    rule = alert.rule
    assert client.post(url("monitoring_alertrule_silence", rule.pk), {"for": "1h"}).status_code == 403
    assert client.get(url("monitoring_alertrule_edit", rule.pk)).status_code == 403
    assert client.post(url("monitoring_alertrule_reset", rule.pk)).status_code == 403
    operator = browse("operator")
    assert operator.get(url("monitoring_alertrule_edit", rule.pk)).status_code == 403
    operator.post(url("monitoring_alertrule_silence", rule.pk), {"for": "1h", "reason": "work"})
    rule.refresh_from_db()
    assert (rule.silenced_by, rule.silenced_reason) == (operator.person.username, "work")


def answers(rule: AlertRule, **changes: Any) -> dict[str, Any]:
    values = {
        "name": rule.name, "enabled": "on", "full_metric": f"{rule.scope}.{rule.metric}",
        "comparison": rule.comparison, "threshold": rule.threshold, "clear_threshold": rule.clear_threshold or "",
        "for_seconds": rule.for_seconds, "keep_firing_seconds": rule.keep_firing_seconds, "severity": rule.severity,
        "summary": rule.summary, "description": rule.description, "runbook": rule.runbook,
    }  # fmt: skip
    return {**values, **changes}


def test_a_rule_is_changed_with_a_preview_and_reset(browse: Any) -> None:  # noqa: F811
    rules.sync_shipped(actor=ACTOR, source=SOURCE)
    rule, client = AlertRule.objects.get(shipped="xid-age"), browse("administrator")
    edit = url("monitoring_alertrule_edit", rule.pk)
    assert client.get(edit).status_code == 200
    shown = client.post(edit, answers(rule, threshold="5", preview="on"))
    assert "Would fire now for: 0" in text_of(shown)
    rule.refresh_from_db()
    assert rule.threshold == 1_000_000_000
    refused = client.post(edit, answers(rule, clear_threshold="2000000000"))
    assert set(form_errors(refused)) == {"clear_threshold"}
    refused = client.post(edit, answers(rule, tenant="nobody-of-this-name"))
    assert "nobody-of-this-name" in text_of(refused)
    client.post(edit, answers(rule, threshold="1200000000"))
    rule.refresh_from_db()
    assert (rule.threshold, "threshold" in rule.edited) == (1_200_000_000, True)
    page = text_of(client.get(url("monitoring_alertrule_change", rule.pk)))
    assert "Reset to shipped" in page
    client.post(url("monitoring_alertrule_reset", rule.pk))
    rule.refresh_from_db()
    assert (rule.threshold, rule.edited) == (1_000_000_000, [])


def test_a_preview_names_for_whom(browse: Any, gauge: Dial, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from monitoring.admin.rules import RuleForm

    name = f"cluster.{gauge.name}"
    monkeypatch.setattr(RuleForm.base_fields["full_metric"], "choices", [(name, name)])
    rule, cluster = gauge.rule(), a_cluster()
    gauge.values = {cluster.pk: 7}
    client = browse("administrator")
    shown = client.post(url("monitoring_alertrule_edit", rule.pk), answers(rule, threshold="6", preview="on"))
    assert f"Would fire now for: 1 {cluster.name}: 7" in text_of(shown)
    gauge.values = {cluster.pk: 11}
    assert f"{cluster.name}: 11" in text_of(client.get(url("monitoring_alertrule_change", rule.pk)))


def test_own_rules_are_added(browse: Any) -> None:  # noqa: F811
    client, slug = browse("administrator"), fresh_slug("mine")
    rule = AlertRule(slug=slug, **rules.values_of(SHIPPED[0]))
    client.post(url("monitoring_alertrule_add"), answers(rule, slug=slug, threshold="9999"))
    made = AlertRule.objects.get(slug=slug)
    assert (made.threshold, made.shipped) == (9999, "")
    refused = client.post(url("monitoring_alertrule_add"), answers(rule, slug=slug))
    assert set(form_errors(refused)) == {"slug"}


def test_a_channel_is_added_tried_and_changed(browse: Any, settings: Any) -> None:  # noqa: F811
    settings.NOTIFY_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    client, name = browse("administrator"), fresh_slug("team")[:40]
    with http_receiver() as receiver:
        sent = {
            "name": name, "kind": "slack", "url": receiver.url, "min_severity": "critical", "enabled": "on",
            "send_resolved": "on",
        }  # fmt: skip
        client.post(url("monitoring_notificationchannel_add"), sent)
        row = NotificationChannel.objects.get(name=name)
        page = url("monitoring_notificationchannel_change", row.pk)
        assert b"hook?key" not in client.get(page).content
        tried = client.post(url("monitoring_notificationchannel_test", row.pk), follow=True)
        assert "The server answered 200" in text_of(tried)
        receiver.answer = 404
        browse("operator").post(url("monitoring_notificationchannel_test", row.pk))
        assert "404" in text_of(client.get(page))
        edit = url("monitoring_notificationchannel_edit", row.pk)
        assert b"hook?key" not in client.get(edit).content
        client.post(edit, {**sent, "url": "", "min_severity": "info", "enabled": ""})
    row.refresh_from_db()
    assert (row.min_severity, row.enabled, bool(row.url)) == ("info", False, True)
    assert set(form_errors(client.post(url("monitoring_notificationchannel_add"), sent))) == {"name"}
    assert browse("viewer").post(url("monitoring_notificationchannel_test", row.pk)).status_code == 403
    assert name in text_of(client.get(url("monitoring_notificationchannel_changelist")))


@pytest.mark.parametrize("page", sorted({rule.page for rule in SHIPPED}))
def test_every_rule_has_its_runbook(browse: Any, page: str) -> None:  # noqa: F811
    answer = browse("viewer").get(url("runbook", page))
    assert answer.status_code == 200
    shown = text_of(answer)
    assert "Diagnosis" in shown
    assert "## " not in shown
    assert b'.md"' not in answer.content


def test_runbooks_are_for_who_is_signed_in_and_there_are_no_others(browse: Any, client: Any) -> None:  # noqa: F811
    assert client.get(url("runbook", "disk-full")).status_code == 302
    signed_in = browse("viewer")
    assert signed_in.get(url("runbook", "no-such-page")).status_code == 404
    assert signed_in.get("/admin/runbooks/..%2f..%2fREADME").status_code == 404
    assert "A server's disk fills" in text_of(signed_in.get(url("runbooks")))
