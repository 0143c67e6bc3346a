"""The five thresholds, from end to end: the real condition is caused, the real sweep and evaluation see it, and a real
receiver is told once that it fires and once that it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from backups.services import due, take
from monitoring.alerts import channels, rules, sending
from monitoring.alerts.evaluate import evaluate
from monitoring.models import AlertRule, Notification, NotificationChannel
from monitoring.sweep import sweep_cluster
from provisioning import services
from tenants import operations
from tenants.models import Cluster, IsolationAttempt, Operation, Tenant
from tests.backups.support import add_customers, back_up, new_disk
from tests.isolation.arena import SERVERS, cluster_at, superuser
from tests.isolation.test_detection import Arena
from tests.monitoring.receivers import Receiver, http_receiver
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}
LIMIT, EIGHTY_PER_CENT = 50, 40


@pytest.fixture(scope="module")
def arena(template: Any) -> Iterator[Arena]:
    if SERVERS[18].missing:
        pytest.skip(SERVERS[18].missing)
    with cluster_at(SERVERS[18], "lockdown") as cluster:
        made = Arena(SERVERS[18], cluster, template)
        made.read()
        yield made


class Watch:
    """The shipped rules, evaluated when told to, and what a receiver is told of one subject."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def rule(self, slug: str, **changes: Any) -> AlertRule:
        """A shipped rule, edited as an operator does it."""
        row = rules.reset_rule(rule=rules.get_rule(slug), **WHO)
        return rules.update_rule(rule=row, changes=changes, **WHO) if changes else row

    def look(self, cluster: Cluster | None = None) -> None:
        """One round of what beat has workers do."""
        if cluster is not None:
            outcomes = sweep_cluster(cluster, ["activity"])
            assert [one.error for one in outcomes] == [""]
        evaluate()
        while sending.send_due():
            pass

    def told(self, slug: str, subject: str = "fleet") -> list[str]:
        """What was told, in its order: each time firing or resolved."""
        return [
            alert["event"]
            for got in self.receiver.got
            if got.json["rule"]["slug"] == slug
            for alert in got.json["alerts"]
            if alert["subject_label"] == subject
        ]


@pytest.fixture
def watch(settings: Any) -> Iterator[Watch]:
    settings.NOTIFY_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.ALERT_GROUP_SECONDS = 0
    Notification.objects.filter(state__in=["waiting", "sending"]).update(state="failed", closed_at=timezone.now())
    NotificationChannel.objects.update(enabled=False)
    rules.sync_shipped(**WHO)
    others_are_no_figures()
    evaluate()  # what others left fires or ends now, before anybody listens
    with http_receiver() as receiver:
        channels.create_channel(
            name=fresh_slug("hook")[:40], kind="webhook", url=receiver.url, secret="", values={}, **WHO
        )
        yield Watch(receiver)
    NotificationChannel.objects.update(enabled=False)


def others_are_no_figures() -> None:
    """Creations that other tests began, or left behind, are not what is measured here."""
    made = Operation.objects.filter(kind="tenant.provision")
    made.filter(state__in=["pending", "running", "cancelling"]).update(created_at=timezone.now() + timedelta(hours=1))
    made.exclude(finished_at=None).update(finished_at=timezone.now() - timedelta(hours=1))


def test_a_slow_creation_warns_after_8_seconds_and_is_critical_after_10(arena: Arena, watch: Watch) -> None:
    asked = services.provision_tenant(
        name="Acme", slug=fresh_slug(), cluster=arena.cluster.name, template=arena.template.template.name,
        respond_async=True, **WHO,
    )  # fmt: skip
    began, ended = time.monotonic(), threading.Event()

    def worker() -> None:
        with closing(connections["default"]):
            while Operation.objects.get(pk=asked.operation.pk).state in ("pending", "running") and not ended.wait(0.2):
                operations.work(asked.operation.pk)

    working = threading.Thread(target=worker)
    try:
        with superuser(arena.server, arena.cluster.dbname) as held, held.transaction():
            held.execute("LOCK TABLE pg_namespace IN SHARE MODE")  # nobody makes a schema meanwhile
            working.start()
            time.sleep(5)
            watch.look()
            assert watch.told("creation-slow") == watch.told("creation-too-slow") == []
            time.sleep(began + 8.3 - time.monotonic())
            watch.look()
            assert (watch.told("creation-slow"), watch.told("creation-too-slow")) == (["firing"], [])
            time.sleep(max(0.0, began + 10.5 - time.monotonic()))
            watch.look()
            assert watch.told("creation-slow") == watch.told("creation-too-slow") == ["firing"]
        working.join(30)
    finally:
        ended.set()
        working.join(30)
    operation = Operation.objects.get(pk=asked.operation.pk)
    assert operation.state == "succeeded", operation.error
    watch.look()
    assert watch.told("creation-slow") == ["firing"], "it counts for five minutes"
    Operation.objects.filter(pk=operation.pk).update(finished_at=timezone.now() - timedelta(minutes=5, seconds=1))
    watch.look()
    watch.look()
    assert watch.told("creation-slow") == watch.told("creation-too-slow") == ["firing", "resolved"]


def test_an_attempt_at_another_tenant_is_critical(arena: Arena, watch: Watch) -> None:
    rule = watch.rule("cross-tenant-attempt", keep_firing_seconds=0)
    assert (rule.severity, rule.threshold) == ("critical", 1)
    slug = arena.attacker.tenant.slug
    arena.settle()
    watch.look()
    assert watch.told(rule.slug, slug) == []
    arena.tries(f"SELECT * FROM {arena.victim.tenant.schema_name}.customers")
    for _ in range(20):  # the server writes its log when it likes
        arena.read()
        if IsolationAttempt.objects.filter(attacker=arena.attacker.tenant).exists():
            break
        time.sleep(0.2)
    watch.look()
    watch.look()
    assert watch.told(rule.slug, slug) == ["firing"]
    assert watch.told(rule.slug, arena.victim.tenant.slug) == []
    attempts = IsolationAttempt.objects.filter(attacker=arena.attacker.tenant)
    attempts.update(last_at=timezone.now() - timedelta(minutes=10, seconds=1))
    watch.look()
    watch.look()
    assert watch.told(rule.slug, slug) == ["firing", "resolved"]


def test_a_failed_backup_is_critical_until_one_succeeds(arena: Arena, watch: Watch, tmp_path: Path) -> None:
    rule = watch.rule("backup-failed")
    assert rule.severity == "critical"
    made = arena.tenant()
    add_customers(made.connection, 3)
    tenant = Tenant.objects.get(pk=made.tenant.pk)
    disk = new_disk(tmp_path / "backups")
    due.plan_ahead()  # as beat has it done each 20 s
    back_up(tenant, storage=disk)
    watch.look()
    assert watch.told(rule.slug, tenant.slug) == []
    (tmp_path / "backups").rename(tmp_path / "away")
    (tmp_path / "backups").write_text("no directory", encoding="utf-8")
    asked = take.backup_tenant(tenant_id=tenant.pk, storage=disk, **WHO)
    operations.work(asked.operation.pk)
    assert Operation.objects.get(pk=asked.operation.pk).state == "failed"
    watch.look()
    watch.look()
    assert watch.told(rule.slug, tenant.slug) == ["firing"]
    (tmp_path / "backups").unlink()
    (tmp_path / "away").rename(tmp_path / "backups")
    back_up(tenant, storage=disk)
    watch.look()
    watch.look()
    assert watch.told(rule.slug, tenant.slug) == ["firing", "resolved"]


def test_connections_warn_at_80_per_cent_of_the_limit(arena: Arena, watch: Watch) -> None:
    rule = watch.rule("connections-near-limit", for_seconds=1)
    assert (rule.severity, rule.threshold, rule.comparison) == ("warning", 0.8, ">=")
    made = arena.tenant()
    slug, dsn = made.tenant.slug, made.connection.dsn
    with ExitStack() as opened:
        for _ in range(EIGHTY_PER_CENT - 1):
            opened.enter_context(psycopg.connect(dsn))
        watch.look(arena.cluster)
        time.sleep(1.1)
        watch.look(arena.cluster)
        assert watch.told(rule.slug, slug) == []
        opened.enter_context(psycopg.connect(dsn))
        watch.look(arena.cluster)
        assert watch.told(rule.slug, slug) == [], "it has to hold for a while"
        time.sleep(1.1)
        watch.look(arena.cluster)
        watch.look(arena.cluster)
        assert watch.told(rule.slug, slug) == ["firing"]
    deadline = time.monotonic() + 20
    while watch.told(rule.slug, slug) == ["firing"] and time.monotonic() < deadline:
        watch.look(arena.cluster)
    watch.look(arena.cluster)
    assert watch.told(rule.slug, slug) == ["firing", "resolved"]
