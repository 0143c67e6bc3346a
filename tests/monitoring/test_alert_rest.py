"""Alerts, rules and channels by REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from monitoring.alerts import channels
from monitoring.alerts.evaluate import evaluate
from monitoring.catalogue import Scope
from monitoring.models import Alert, AlertRule, NotificationChannel
from tenants.api_keys import create_api_key
from tenants.models import AuditEvent
from tests.monitoring.dials import Dial, a_cluster, a_tenant, dial
from tests.monitoring.receivers import http_receiver
from tests.rest.support import problem, wrong_fields
from tests.support.api import ApiClient
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug


@pytest.fixture
def gauge() -> Iterator[Dial]:
    with dial(Scope.TENANT) as made:
        yield made


@pytest.fixture
def client(api_client: Callable[..., ApiClient]) -> ApiClient:
    return api_client("alerts:read", "alerts:write")


def test_alerts_are_found_acknowledged_and_silenced(gauge: Dial, client: ApiClient, plan: Any) -> None:
    cluster = a_cluster()
    mine, other = a_tenant(cluster, plan), a_tenant(cluster, plan)
    rule = gauge.rule(severity="critical", runbook="disk-full")
    gauge.values = {mine.pk: 11, other.pk: 12}
    evaluate()
    found = client.get(f"alerts?rule={rule.slug}&state=firing&severity=critical&cluster=").json()
    assert found["code"] == "invalid"
    [shown] = client.get(f"alerts?rule={rule.slug}&state=open&tenant={mine.pk}").json()["results"]
    assert (shown["value"], shown["subject_label"], shown["state"]) == (11.0, mine.slug, "firing")
    assert shown["runbook_url"].endswith("/disk-full")
    assert len(client.get(f"alerts?rule={rule.slug}&cluster={cluster.name}").json()["results"]) == 2
    assert client.get(f"alerts?rule={rule.slug}&state=resolved").json()["results"] == []
    assert wrong_fields(client.get("alerts?state=gone")) == {"state"}
    detail = client.get(f"alerts/{shown['id']}").json()
    assert [each["state"] for each in detail["history"]] == ["pending", "firing"]
    taken = client.post(f"alerts/{shown['id']}/acknowledge", {"note": "mine"})
    assert (taken.json()["state"], taken.json()["note"]) == ("acknowledged", "mine")
    problem(client.post(f"alerts/{shown['id']}/acknowledge", {}), 409, "alert_not_firing")
    problem(client.get("alerts/0"), 404, "not_found")
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    assert client.post(f"alerts/{shown['id']}/silence", {"until": until, "reason": "work"}).json()["silenced"]
    assert not client.post(f"alerts/{shown['id']}/silence", {"until": None}).json()["silenced"]
    assert wrong_fields(client.post(f"alerts/{shown['id']}/silence", {"until": "2020-01-01T00:00:00Z"})) == {"until"}
    assert AuditEvent.objects.filter(action="alert.silence", target_id=str(shown["id"])).count() == 1


def test_a_key_of_one_tenant_sees_its_alerts_and_no_rules(gauge: Dial, plan: Any) -> None:
    cluster = a_cluster()
    mine, other = a_tenant(cluster, plan), a_tenant(cluster, plan)
    rule = gauge.rule()
    gauge.values = {mine.pk: 11, other.pk: 12}
    evaluate()
    _, key = create_api_key(name="robot", scopes=["alerts:read"], tenant=mine, actor=ACTOR, source=SOURCE)
    client = ApiClient(key)
    assert [each["tenant"] for each in client.get(f"alerts?rule={rule.slug}").json()["results"]] == [str(mine.pk)]
    theirs = Alert.objects.get(rule=rule, tenant=other)
    problem(client.get(f"alerts/{theirs.pk}"), 404, "not_found")
    problem(client.get("alert-rules"), 403, "tenant_bound_key")
    problem(client.get("notification-channels"), 403, "tenant_bound_key")


def test_rules_are_changed_and_refused_by_field(gauge: Dial, client: ApiClient, plan: Any) -> None:
    rule, tenant = gauge.rule(), a_tenant(a_cluster(), plan)
    path = f"alert-rules/{rule.pk}"
    changed = client.patch(path, {"threshold": 5, "for_seconds": 60, "severity": "critical", "tenant": str(tenant.pk)})
    body = changed.json()
    assert (body["threshold"], body["for_seconds"], body["tenant"]) == (5.0, 60, str(tenant.pk))
    assert client.get(path).json() == body
    assert client.patch(path, {"tenant": None, "plan": plan.slug}).json()["plan"] == plan.slug
    rule.refresh_from_db()
    assert (rule.tenant, rule.plan, rule.severity) == (None, plan, "critical")
    for wrong, field in (
        ({"threshold": "8"}, "threshold"), ({"threshold": True}, "threshold"), ({"for_seconds": 1.5}, "for_seconds"),
        ({"severity": "dire"}, "severity"), ({"metric": "none"}, "metric"), ({"slug": "x"}, "slug"),
        ({"summary": "{x}"}, "summary"), ({"cluster": "nowhere"}, "cluster"), ({"enabled": "yes"}, "enabled"),
        ({"tenant": "x"}, "tenant"), ({"clear_threshold": 99}, "clear_threshold"), ({"plan": 1}, "plan"),
        ({"threshold": 10**400}, "threshold"),
    ):  # fmt: skip
        assert wrong_fields(client.patch(path, wrong)) == {field}, wrong
    problem(client.patch(path, {}), 400, "invalid")
    problem(client.get("alert-rules/0"), 404, "not_found")
    assert rule.slug in [each["slug"] for each in client.get("alert-rules?page_size=200").json()["results"]]
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    assert client.post(f"{path}/silence", {"until": until, "reason": "work"}).json()["silenced_reason"] == "work"
    assert client.post(f"{path}/silence", {"until": None}).json()["silenced_until"] is None
    assert AlertRule.objects.get(pk=rule.pk).silenced_by == ""


def test_channels_are_listed_without_their_urls_and_tried(client: ApiClient, settings: Any) -> None:
    settings.NOTIFY_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with http_receiver() as receiver:
        row = channels.create_channel(
            name=fresh_slug("hook")[:40], kind="webhook", url=receiver.url, secret="of tests", actor=ACTOR,
            source=SOURCE,
        )  # fmt: skip
        [shown] = [each for each in client.get("notification-channels").json()["results"] if each["id"] == row.pk]
        assert (shown["place"], shown["signed"]) == ("127.0.0.1", True)
        assert "hook?key" not in str(shown)
        assert client.post(f"notification-channels/{row.pk}/test").json() == {"status": 200}
        receiver.answer = 500
        problem(client.post(f"notification-channels/{row.pk}/test"), 502, "delivery_failed")
        settings.NOTIFY_ALLOWED_NETWORKS = []
        problem(client.post(f"notification-channels/{row.pk}/test"), 422, "address_refused")
        problem(client.post("notification-channels/0/test"), 404, "not_found")
        assert len(receiver.got) == 2
    NotificationChannel.objects.filter(pk=row.pk).update(enabled=False)
