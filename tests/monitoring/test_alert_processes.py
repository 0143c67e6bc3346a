"""Many evaluators at once, and evaluators that are killed in the middle: each firing is told once all the same."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from monitoring import partitions
from monitoring.alerts import channels, rules
from monitoring.alerts.evaluate import evaluate
from monitoring.models import (
    Alert,
    AlertRule,
    AlertTransition,
    Delivery,
    Notification,
    NotificationChannel,
    ProbeState,
    TenantActivity,
)
from tenants.models import Cluster, Tenant
from tests.monitoring.dials import a_cluster, a_tenant
from tests.monitoring.receivers import http_receiver
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug
from tests.support.processes import Running, running

pytestmark = pytest.mark.usefixtures("alone")
COMMAND = [sys.executable, "manage.py", "evaluate_alerts", "--json"]


@pytest.fixture
def channel() -> Iterator[NotificationChannel]:
    made = channels.create_channel(
        name=fresh_slug("hook")[:40], kind="webhook", url="http://127.0.0.1:1/", actor=ACTOR, source=SOURCE
    )
    yield made
    NotificationChannel.objects.filter(pk=made.pk).update(enabled=False)


@pytest.fixture
def cluster() -> Cluster:
    return a_cluster()


@pytest.fixture
def rule(cluster: Cluster) -> Iterator[AlertRule]:
    """Connections of this cluster's tenants, as real samples tell of them."""
    values = {
        "name": "Connections", "scope": "tenant", "metric": "connections_used_ratio", "comparison": ">=",
        "threshold": 0.8, "severity": "warning", "summary": "{tenant} uses {value}", "cluster": cluster,
    }  # fmt: skip
    made = rules.create_rule(slug=fresh_slug("rule"), changes=values, actor=ACTOR, source=SOURCE)
    yield made
    AlertRule.objects.filter(pk=made.pk).update(enabled=False)


def look(cluster: Cluster, tenants: list[Tenant], used: int, at: datetime | None = None) -> None:
    """What the probe of connections writes: `used` of 50, of each."""
    at = at or timezone.now()
    partitions.ensure(TenantActivity, [at])
    TenantActivity.objects.bulk_create(
        TenantActivity(taken_at=at, cluster_id=cluster.pk, tenant_id=tenant.pk, connections=used, connection_limit=50)
        for tenant in tenants
    )
    state = {"tried_at": at, "ok_at": at, "error": ""}
    ProbeState.objects.update_or_create(cluster=cluster, probe="activity", defaults=state)


def finished(process: Running) -> int:
    return process.process.wait(120)


def counts(rule: AlertRule, channel: NotificationChannel) -> dict[str, Any]:
    told = Delivery.objects.filter(alert__rule=rule, channel=channel)
    return {
        "alerts": Alert.objects.filter(rule=rule).count(),
        "states": sorted(set(Alert.objects.filter(rule=rule).values_list("state", flat=True))),
        "transitions": AlertTransition.objects.filter(alert__rule=rule).count(),
        "told": told.count(),
        "messages": Notification.objects.filter(rule=rule, channel=channel).count(),
    }


def test_evaluators_at_once_fire_and_resolve_each_alert_once(
    cluster: Cluster, rule: AlertRule, channel: NotificationChannel, plan: Any
) -> None:
    every = [a_tenant(cluster, plan) for _ in range(40)]
    look(cluster, every, 45)
    for wanted in (
        {"alerts": 40, "states": ["firing"], "transitions": 80, "told": 40, "messages": 1},
        {"alerts": 40, "states": ["resolved"], "transitions": 120, "told": 80},
    ):
        with running(COMMAND) as one, running(COMMAND) as two, running(COMMAND) as three:
            evaluate()
            assert [finished(each) for each in (one, two, three)] == [0, 0, 0], one.log + two.log + three.log
        evaluate()
        found = counts(rule, channel)
        assert {name: found[name] for name in wanted} == wanted
        look(cluster, every, 1)


def test_an_evaluator_that_is_killed_leaves_all_or_nothing(
    cluster: Cluster, rule: AlertRule, channel: NotificationChannel, plan: Any
) -> None:
    """It is held up just before the last of what it writes, and killed there."""
    every = [a_tenant(cluster, plan) for _ in range(3)]
    look(cluster, every, 45)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE monitoring_delivery IN SHARE MODE")
        with running(COMMAND) as process:
            _wait_until_it_is_held_up()
            process.kill()
    _wait_until_it_is_gone()
    assert counts(rule, channel) == {"alerts": 0, "states": [], "transitions": 0, "told": 0, "messages": 0}
    evaluate()
    evaluate()
    assert counts(rule, channel) == {"alerts": 3, "states": ["firing"], "transitions": 6, "told": 3, "messages": 1}


WAITING = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'monitoring_delivery'::regclass
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return int(cursor.fetchone()[0])


def _wait_until_it_is_held_up() -> None:
    deadline = time.monotonic() + 90
    while not _waiting():
        assert time.monotonic() < deadline, "the evaluator never came to its deliveries"
        time.sleep(0.1)


def _wait_until_it_is_gone() -> None:
    """Its session sees that it is gone when it writes next, or a moment later."""
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND state <> 'idle' AND query LIKE '%monitoring_delivery%'"
            )
            if not cursor.fetchone()[0]:
                return
            time.sleep(0.1)


def test_a_sender_that_is_killed_is_succeeded_and_the_receiver_can_tell(
    cluster: Cluster, rule: AlertRule, plan: Any, settings: Any
) -> None:
    """Killed between sending and noting it: the message comes again, under the same id."""
    from monitoring.alerts import sending

    settings.NOTIFY_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.ALERT_GROUP_SECONDS = 0
    with http_receiver() as receiver:
        made = channels.create_channel(
            name=fresh_slug("hook")[:40], kind="webhook", url=receiver.url, actor=ACTOR, source=SOURCE
        )
        look(cluster, [a_tenant(cluster, plan)], 45)
        evaluate()
        receiver.slow = 0.5  # the answer does not end
        with running([*COMMAND, "--send"], NOTIFY_ALLOWED_NETWORKS="127.0.0.0/8") as process:
            deadline = time.monotonic() + 90
            while not receiver.got:
                assert time.monotonic() < deadline, process.log
                time.sleep(0.05)
            process.kill()
        message = Notification.objects.get(channel=made)
        assert (message.state, message.attempts) == ("sending", 1)
        assert sending.send_due() == 0  # its lease is not over
        Notification.objects.filter(pk=message.pk).update(lease_until=timezone.now())
        receiver.slow = 0
        assert sending.send_due() == 1
        assert [uuid.UUID(got.json["id"]) for got in receiver.got] == [message.pk, message.pk]
        message.refresh_from_db()
        assert (message.state, message.attempts) == ("sent", 2)
        NotificationChannel.objects.filter(pk=made.pk).update(enabled=False)
