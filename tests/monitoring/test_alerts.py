"""From figures to alerts: for how long, hysteresis, what is missing, whom it is about, and who is told how often."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.alerts import channels, deliveries, handling, rules
from monitoring.alerts.evaluate import evaluate, would_fire
from monitoring.catalogue import Scope, Unit
from monitoring.models import Alert, AlertRule, AlertTransition, Delivery, Notification, NotificationChannel
from tenants.exceptions import Conflict
from tenants.models import AuditEvent, Tenant
from tests.monitoring.dials import Dial, a_cluster, a_tenant, dial
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

START = timezone.now() - timedelta(days=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def gauge() -> Iterator[Dial]:
    with dial() as made:
        yield made


@pytest.fixture
def channel() -> Iterator[NotificationChannel]:
    """Nobody listens there, and nothing is sent by these tests."""
    made = a_channel()
    yield made
    NotificationChannel.objects.filter(pk=made.pk).update(enabled=False)


def a_channel(**values: Any) -> NotificationChannel:
    kind = values.pop("kind", "webhook")
    return channels.create_channel(
        name=fresh_slug("hook")[:40], kind=kind, url="https://127.0.0.1:1/", values=values, actor=ACTOR, source=SOURCE
    )


def states(rule: AlertRule) -> list[str]:
    return list(Alert.objects.filter(rule=rule).order_by("pk").values_list("state", flat=True))


def told(rule: AlertRule, channel: NotificationChannel) -> list[tuple[str, str]]:
    rows = Delivery.objects.filter(alert__rule=rule, channel=channel).order_by("pk")
    return list(rows.values_list("alert__subject", "event"))


def test_it_waits_fires_is_acknowledged_and_is_over(gauge: Dial, channel: NotificationChannel) -> None:
    cluster = a_cluster()
    rule = gauge.rule(for_seconds=60, clear_threshold=8, keep_firing_seconds=30)
    gauge.values = {cluster.pk: 11}
    evaluate(now=at(0))
    alert = Alert.objects.get(rule=rule)
    assert (alert.state, alert.cluster, alert.held_since) == ("pending", cluster, at(0))
    assert told(rule, channel) == []
    evaluate(now=at(59))
    assert states(rule) == ["pending"]
    gauge.values = {cluster.pk: 12}
    evaluate(now=at(60))
    alert.refresh_from_db()
    assert (alert.state, alert.fired_at, alert.value) == ("firing", at(60), 12)
    assert alert.summary == f"{cluster.name} shows 12"
    evaluate(now=at(75))
    assert told(rule, channel) == [(f"cluster:{cluster.pk}", "firing")]
    handling.acknowledge(alert=alert, note="mine", actor=ACTOR, source=SOURCE)
    with pytest.raises(Conflict, match="acknowledged"):
        handling.acknowledge(alert=alert, actor=ACTOR, source=SOURCE)
    gauge.values = {cluster.pk: 9}  # below the threshold, not below where it clears
    evaluate(now=at(90))
    gauge.values = {cluster.pk: 8}
    evaluate(now=at(105))
    gauge.values = {cluster.pk: 9}  # back again
    evaluate(now=at(120))
    gauge.values = {cluster.pk: 3}
    evaluate(now=at(135))
    evaluate(now=at(164))
    assert states(rule) == ["acknowledged"]
    evaluate(now=at(165))
    evaluate(now=at(180))
    alert.refresh_from_db()
    assert (alert.state, alert.resolved_at, alert.resolution) == ("resolved", at(165), "It is over.")
    assert told(rule, channel) == [(f"cluster:{cluster.pk}", "firing"), (f"cluster:{cluster.pk}", "resolved")]
    history = AlertTransition.objects.filter(alert=alert).order_by("pk")
    assert [(row.state, row.by) for row in history] == [
        ("pending", ""), ("firing", ""), ("acknowledged", "tests"), ("resolved", ""),
    ]  # fmt: skip
    assert AuditEvent.objects.filter(action="alert.acknowledge", target_id=str(alert.pk)).count() == 1


def test_what_was_over_before_its_time_is_forgotten(gauge: Dial, channel: NotificationChannel) -> None:
    cluster = a_cluster()
    rule = gauge.rule(for_seconds=60)
    for seconds, value in ((0, 11), (30, 10), (45, 11), (90, 11), (104, 11)):
        gauge.values = {cluster.pk: value}
        evaluate(now=at(seconds))
    assert states(rule) == ["pending"]
    evaluate(now=at(105))
    assert states(rule) == ["firing"]
    gauge.values = {cluster.pk: 10}
    evaluate(now=at(106))
    gauge.values = {cluster.pk: 11}
    evaluate(now=at(107))
    assert states(rule) == ["resolved", "pending"]  # another one


@pytest.mark.parametrize(
    ("comparison", "value", "not_yet"), [(">=", 10, 9.99), ("<", 9, 10), ("<=", 10, 11), ("==", 10, 10.5)]
)
def test_comparisons(gauge: Dial, comparison: str, value: float, not_yet: float) -> None:
    cluster, other = a_cluster(), a_cluster()
    rule = gauge.rule(comparison=comparison)
    gauge.values = {cluster.pk: value, other.pk: not_yet}
    evaluate(now=at(0))
    assert [alert.cluster for alert in Alert.objects.filter(rule=rule, state="firing")] == [cluster]


def test_missing_figures_change_nothing_and_are_shown(gauge: Dial) -> None:
    cluster = a_cluster()
    rule = gauge.rule()
    gauge.values = {cluster.pk: 11}
    evaluate(now=at(0))
    gauge.broken = True
    outcome = evaluate(now=at(1000))
    alert = Alert.objects.get(rule=rule)
    assert (alert.state, alert.no_data_since) == ("firing", at(0))
    assert "ConnectionError" in outcome.blind[rule.slug]
    rule.refresh_from_db()
    assert "ConnectionError" in rule.trouble
    gauge.broken = False
    evaluate(now=at(1015))
    alert.refresh_from_db()
    rule.refresh_from_db()
    assert (alert.state, alert.no_data_since, alert.seen_at, rule.trouble) == ("firing", None, at(1015), "")


def test_a_fact_that_names_a_subject_no_more_says_that_it_is_over(gauge: Dial) -> None:
    cluster = a_cluster()
    rule = gauge.rule()
    gauge.values = {cluster.pk: 11}
    evaluate(now=at(0))
    gauge.values = {}
    evaluate(now=at(15))
    assert states(rule) == ["resolved"]


def test_what_is_gone_is_over(plan: Any, channel: NotificationChannel) -> None:
    with dial(Scope.TENANT) as gauge:
        tenant = a_tenant(a_cluster(), plan)
        rule = gauge.rule()
        gauge.values = {tenant.pk: 11}
        evaluate(now=at(0))
        Tenant.objects.filter(pk=tenant.pk).update(state="purged")
        evaluate(now=at(15))
        alert = Alert.objects.get(rule=rule)
        assert (alert.state, alert.resolution) == ("resolved", "It is gone.")
        assert [event for _, event in told(rule, channel)] == ["firing", "resolved"]


def test_a_disabled_rule_ends_its_alerts(gauge: Dial) -> None:
    rule = gauge.rule()
    gauge.values = {a_cluster().pk: 11}
    evaluate(now=at(0))
    rules.update_rule(rule=rule, changes={"enabled": False}, actor=ACTOR, source=SOURCE)
    evaluate(now=at(15))
    assert Alert.objects.get(rule=rule).resolution == "The rule is disabled."


def test_rules_and_channels_are_narrowed(plan: Any) -> None:
    with dial(Scope.TENANT) as gauge:
        here, there = a_cluster(), a_cluster()
        mine, beside, away = a_tenant(here, plan), a_tenant(here, plan), a_tenant(there, plan)
        gauge.values = {mine.pk: 11, beside.pk: 12, away.pk: 13}
        of_cluster, of_tenant = gauge.rule(cluster=here), gauge.rule(tenant=mine, severity="info")
        assert [subject.label for subject, _ in would_fire(of_cluster)] == [beside.slug, mine.slug]
        every, at_there, urgent = a_channel(), a_channel(cluster=there), a_channel(min_severity="warning")
        evaluate(now=at(0))
        assert {alert.tenant for alert in Alert.objects.filter(rule=of_cluster)} == {mine, beside}
        assert {alert.tenant for alert in Alert.objects.filter(rule=of_tenant)} == {mine}
        assert [len(told(of_cluster, each)) for each in (every, at_there, urgent)] == [2, 0, 2]
        assert [len(told(of_tenant, each)) for each in (every, at_there, urgent)] == [1, 0, 0]
        NotificationChannel.objects.filter(pk__in=[every.pk, at_there.pk, urgent.pk]).update(enabled=False)


def test_alerts_of_one_rule_are_one_message_for_some_seconds(
    gauge: Dial, channel: NotificationChannel, settings: Any
) -> None:
    settings.ALERT_GROUP_SECONDS = 30
    first, second, third = a_cluster(), a_cluster(), a_cluster()
    rule = gauge.rule()
    gauge.values = {first.pk: 11, second.pk: 11}
    evaluate(now=at(0))
    gauge.values[third.pk] = 11
    evaluate(now=at(15))
    [message] = Notification.objects.filter(rule=rule, channel=channel)
    assert (message.deliveries.count(), message.due_at) == (3, at(30))


def test_silences_hold_back_and_what_still_fires_is_told_afterwards(gauge: Dial, channel: NotificationChannel) -> None:
    rule, cluster = gauge.rule(), a_cluster()
    rules.silence_rule(rule=rule, until=timezone.now() + timedelta(hours=1), reason="work", actor=ACTOR, source=SOURCE)
    gauge.values = {cluster.pk: 11}
    evaluate()
    assert (states(rule), told(rule, channel)) == (["firing"], [])
    rules.silence_rule(rule=rule, until=None, actor=ACTOR, source=SOURCE)
    alert = Alert.objects.get(rule=rule)
    handling.silence_alert(
        alert=alert, until=timezone.now() + timedelta(hours=1), reason="one", actor=ACTOR, source=SOURCE
    )
    evaluate()
    assert told(rule, channel) == []
    handling.silence_alert(alert=alert, until=None, actor=ACTOR, source=SOURCE)
    evaluate()
    evaluate()
    assert told(rule, channel) == [(f"cluster:{cluster.pk}", "firing")]


def test_critical_ones_are_repeated_until_somebody_looks(gauge: Dial, settings: Any) -> None:
    settings.ALERT_REPEAT_SECONDS = 3600
    one, manager = a_channel(), a_channel(kind="alertmanager")
    critical, warning = gauge.rule(severity="critical"), gauge.rule()
    gauge.values = {a_cluster().pk: 11}
    for minutes in (0, 59, 60, 61, 119, 120):
        evaluate(now=at(minutes * 60))
    assert [event for _, event in told(critical, one)] == ["firing", "repeat", "repeat"]
    assert [event for _, event in told(warning, one)] == ["firing"]
    assert [event for _, event in told(warning, manager)] == ["firing", "repeat", "repeat"]
    handling.acknowledge(alert=Alert.objects.get(rule=critical), actor=ACTOR, source=SOURCE)
    evaluate(now=at(181 * 60))
    assert len(told(critical, one)) == 3
    assert len(told(critical, manager)) == 4  # else it would take it for over
    NotificationChannel.objects.filter(pk__in=[one.pk, manager.pk]).update(enabled=False)


def test_the_number_of_queries_does_not_depend_on_tenants(plan: Any, django_assert_max_num_queries: Any) -> None:
    with dial(Scope.TENANT) as gauge:
        cluster = a_cluster()
        every = [a_tenant(cluster, plan).pk for _ in range(60)]
        rule = gauge.rule(for_seconds=10)
        counts = []
        for number in (3, 60):
            gauge.values = dict.fromkeys(every[:number], 11.0)
            with django_assert_max_num_queries(100) as counted:
                evaluate(now=at(number))
            counts.append(len(counted.captured_queries))
        assert Alert.objects.filter(rule=rule).count() == 60
        assert counts[1] <= counts[0] + 8  # those that fire


def test_units_are_for_people() -> None:
    with dial(unit=Unit.RATIO) as gauge:
        cluster = a_cluster()
        rule = gauge.rule(threshold=0.8, summary="{cluster} uses {value} of {threshold}, {rule}")
        gauge.values = {cluster.pk: 0.934}
        evaluate(now=at(0))
        assert Alert.objects.get(rule=rule).summary == f"{cluster.name} uses 93.4 % of 80 %, Too high"


STEP = st.tuples(
    st.integers(1, 40), st.lists(st.sampled_from([None, 5, 9, 11, 20]), min_size=3, max_size=3), st.booleans()
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    for_seconds=st.sampled_from([0, 30]), keep=st.sampled_from([0, 30]), clear=st.sampled_from([None, 8.0]),
    steps=st.lists(STEP, min_size=3, max_size=14),
)  # fmt: skip
def test_whatever_is_measured_the_promises_hold(
    for_seconds: int, keep: int, clear: float | None, steps: list[tuple[int, list[float | None], bool]]
) -> None:
    """One open alert for each subject; it fires only after the condition held for its time, by figures alone; each
    firing is told once to each channel, and each end."""
    one, two, none = a_channel(), a_channel(), a_channel(min_severity="critical")
    clusters = [a_cluster() for _ in range(3)]
    with dial() as gauge:
        rule = gauge.rule(for_seconds=for_seconds, keep_firing_seconds=keep, clear_threshold=clear)
        held: dict[int, float | None] = {each.pk: None for each in clusters}  # since when, by figures
        fired: set[int] = set()
        now = 0.0
        for wait, values, broken in steps:
            now += wait
            gauge.broken = broken
            gauge.values = {each.pk: value for each, value in zip(clusters, values, strict=True) if value is not None}
            evaluate(now=at(now))
            for each, value in zip(clusters, values, strict=True):
                if not broken:
                    held[each.pk] = (now if held[each.pk] is None else held[each.pk]) if (value or 0) > 10 else None
                _check_subject(rule, each.pk, held[each.pk], now, broken, for_seconds, fired)
        for alert in Alert.objects.filter(rule=rule).exclude(state="pending"):
            firing = ["firing"]
            wanted = firing + (["resolved"] if alert.state == "resolved" else [])
            for each in (one, two):
                rows = Delivery.objects.filter(alert=alert, channel=each).order_by("pk")
                assert list(rows.values_list("event", flat=True)) == wanted
            assert not Delivery.objects.filter(alert=alert, channel=none).exists()
            entered = AlertTransition.objects.filter(alert=alert).order_by("pk").values_list("state", flat=True)
            assert list(entered) == ["pending", *wanted]
        assert not Delivery.objects.filter(alert__rule=rule, alert__state="pending").exists()
    NotificationChannel.objects.filter(pk__in=[one.pk, two.pk, none.pk]).update(enabled=False)


def _check_subject(
    rule: AlertRule, pk: int, since: float | None, now: float, broken: bool, for_seconds: int, fired: set[int]
) -> None:
    [*found] = Alert.objects.filter(rule=rule, subject=f"cluster:{pk}").exclude(state="resolved")
    assert len(found) <= 1
    alert = found[0] if found else None
    if alert is not None and alert.state == "firing" and alert.pk not in fired:
        fired.add(alert.pk)
        assert since is not None
        assert now - since >= for_seconds
    if since is not None and not broken:
        assert alert is not None
        assert alert.state == ("firing" if now - since >= for_seconds or alert.pk in fired else "pending")


def test_reminders_are_written_by_one_of_two(gauge: Dial, channel: NotificationChannel, settings: Any) -> None:
    settings.ALERT_REPEAT_SECONDS = 3600
    rule = gauge.rule(severity="critical")
    gauge.values = {a_cluster().pk: 11}
    evaluate(now=at(0))
    assert deliveries.remind(at(3600)) >= 1
    before = told(rule, channel)
    deliveries.remind(at(3600))
    assert told(rule, channel) == before


def test_what_ended_long_ago_is_forgotten(gauge: Dial, channel: NotificationChannel, settings: Any) -> None:
    from monitoring.alerts.retention import forget_old

    settings.MONITORING_DAILY_DAYS = 100
    old, young = a_cluster(), a_cluster()
    rule = gauge.rule()
    long_ago = START - timedelta(days=101)
    for now, values in ((long_ago, {old.pk: 11}), (long_ago, {}), (START, {young.pk: 11}), (at(15), {})):
        gauge.values = values
        evaluate(now=now)
        AlertRule.objects.filter(pk=rule.pk).update(evaluated_at=None)
    Notification.objects.filter(rule=rule).update(state="sent", closed_at=START)
    assert Notification.objects.filter(rule=rule, channel=channel).count() == 1  # the same message waited for all of it
    assert forget_old(START) >= 1
    assert [alert.cluster for alert in Alert.objects.filter(rule=rule)] == [young]
    assert Notification.objects.filter(rule=rule, channel=channel).count() == 1
