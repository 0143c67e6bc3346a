"""Rotation: by policy, by hand, in an emergency; when the old login is closed, and what the new one is like."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from provisioning import maintenance, services
from provisioning.credentials import collect_credentials, reveal_credentials
from tenants import operations
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import AuditEvent, Operation, Plan, TenantRole
from tenants.postgres import connect
from tests.pooling.support import WHO, Front, direct, front, needs_pgbouncer, through
from tests.provisioning.support import ACTOR, SOURCE, act, can_log_in, log_in, provision
from tests.support.fixtures import fresh_slug

EMERGENCY_SECONDS = 5.0


def plan(**values: Any) -> str:
    """A plan of a test's own; its slug."""
    return Plan.objects.create(slug=fresh_slug("plan"), name="Test", **values).slug


def role(name: str) -> TenantRole:
    return TenantRole.objects.get(name=name)


def of(tenant: Any, state: str) -> TenantRole:
    return TenantRole.objects.get(tenant=tenant, state=state)


def aged(made: Any, days: float) -> None:
    TenantRole.objects.filter(tenant=made.tenant, state="active").update(
        issued_at=timezone.now() - timedelta(days=days)
    )


def test_what_is_too_old_is_rotated_and_waits_until_it_is_collected(template: Any) -> None:
    made = provision(template, plan=plan(rotation_max_age_days=30, rotation_jitter_days=0))
    aged(made, 29.9)
    maintenance.rotate_due(1000)
    assert of(made.tenant, "active").name == made.connection.user, "not before its time"
    aged(made, 30.1)
    assert maintenance.rotate_due(1000) >= 1
    new, old = of(made.tenant, "active"), of(made.tenant, "retiring")
    assert (old.name, new.collected_at) == (made.connection.user, None)
    TenantRole.objects.filter(pk=new.pk).update(issued_at=timezone.now() - timedelta(days=99))
    maintenance.rotate_due(1000)  # never two at once
    operation = Operation.objects.get(tenant=made.tenant, kind="credentials.rotate")
    assert operation.result["credentials"] == "uncollected"
    assert (operation.actor_kind, operation.channel) == ("system", "beat")
    # Its overlap is over, but nobody has the new password.
    TenantRole.objects.filter(pk=old.pk).update(retire_at=timezone.now() - timedelta(days=1))
    maintenance.retire_logins()
    assert can_log_in(made.connection)
    connection = collect_credentials(operation_id=operation.pk, actor=ACTOR, source=SOURCE)
    assert (connection.user, can_log_in(connection)) == (new.name, True)
    assert role(old.name).retire_at > timezone.now(), "the overlap begins with the collection"
    with pytest.raises(Conflict):
        collect_credentials(operation_id=operation.pk, actor=ACTOR, source=SOURCE)
    TenantRole.objects.filter(pk=old.pk).update(retire_at=timezone.now(), last_seen_at=None)
    maintenance.retire_logins()
    assert not can_log_in(made.connection)
    assert can_log_in(connection)


def test_nobody_collects_it_and_the_deadline_comes(template: Any) -> None:
    made = provision(template, plan=plan(rotation_max_age_days=30, rotation_jitter_days=0))
    aged(made, 31)
    maintenance.rotate_due(1000)
    old = of(made.tenant, "retiring")
    assert timedelta(days=29) < old.close_by - timezone.now() < timedelta(days=31)
    TenantRole.objects.filter(pk=old.pk).update(close_by=timezone.now())
    maintenance.retire_logins()
    assert not can_log_in(made.connection)
    revealed = act(reveal_credentials, made.tenant, reason="nobody had collected it")
    assert can_log_in(revealed)


def test_an_old_operation_hands_out_no_later_password(template: Any) -> None:
    """Neither the one that was never collected nor the one that has taken its place."""
    made = provision(template)
    services.rotate_by_policy(tenant_id=made.tenant.pk, **WHO)
    first = Operation.objects.get(tenant=made.tenant, kind="credentials.rotate")
    act(services.rotate_credentials, made.tenant, overlap_minutes=0)
    again = act(services.rotate_credentials, made.tenant, overlap_minutes=0)
    assert again.operation.params["login"] == first.params["login"]
    with pytest.raises(Conflict) as caught:
        collect_credentials(operation_id=first.pk, actor=ACTOR, source=SOURCE)
    assert (caught.value.code, caught.value.status) == ("already_collected", 410)


def test_a_tenants_own_age_comes_before_its_plans(template: Any) -> None:
    slug = plan(rotation_max_age_days=30, rotation_jitter_days=0)
    never, soon = (provision(template, plan=slug, limits={"rotation_max_age_days": days}) for days in (0, 3))
    for made in (never, soon):
        aged(made, 31)
    aged(soon, 4)
    maintenance.rotate_due(1000)
    assert [of(made.tenant, "active").name == made.connection.user for made in (never, soon)] == [True, False]


def test_the_jitter_spreads_them_and_is_the_same_each_time(template: Any) -> None:
    slug = plan(rotation_max_age_days=100, rotation_jitter_days=50)
    several = [provision(template, plan=slug) for _ in range(8)]
    for made in several:
        aged(made, 100)  # all are due by now
    from django.db import connection

    from provisioning.workflows import QUERIES

    def due() -> set[Any]:
        with connection.cursor() as cursor:
            cursor.execute(QUERIES["logins_to_rotate"], {"limit": 10_000})
            return {row[0] for row in cursor.fetchall()} & {made.tenant.pk for made in several}

    assert len(due()) == 8
    for made in several:
        aged(made, 75)  # and half of them at this age, more or less
    TenantRole.objects.filter(tenant__in=[made.tenant for made in several], state="active").update(
        issued_at=timezone.now() - timedelta(days=75)
    )
    assert 0 < len(due()) < 8
    assert due() == due()


def test_only_so_many_in_one_go(template: Any) -> None:
    slug = plan(rotation_max_age_days=1, rotation_jitter_days=0)
    several = [provision(template, plan=slug) for _ in range(3)]
    for made in several:
        aged(made, 3000)  # longer overdue than those of any other test
    assert maintenance.rotate_due(2) == 2
    rotations = Operation.objects.filter(kind="credentials.rotate", tenant__in=[made.tenant for made in several])
    assert rotations.count() == 2
    maintenance.rotate_due(2)
    assert rotations.count() == 3


def test_a_login_in_use_is_waited_for_until_it_is_idle_or_the_deadline_comes(template: Any, settings: Any) -> None:
    made = provision(template)
    new = act(services.rotate_credentials, made.tenant).connection
    old = of(made.tenant, "retiring")
    assert old.close_by > old.retire_at
    TenantRole.objects.filter(pk=old.pk).update(retire_at=timezone.now() - timedelta(hours=1))
    with log_in(made.connection) as session:
        session.execute("SELECT 1")
        assert maintenance.retire_logins() == 0
        seen = role(old.name).last_seen_at
        assert timezone.now() - seen < timedelta(seconds=30)
        assert session.execute("SELECT 1").fetchone() == (1,)
        time.sleep(1.1)
        settings.ROTATION_UNUSED_MINUTES = 1 / 60
        maintenance.retire_logins()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not can_log_in(made.connection)
    assert can_log_in(new)


def test_a_transaction_that_is_open_counts_as_use(template: Any, settings: Any) -> None:
    settings.ROTATION_UNUSED_MINUTES = 1 / 60
    made = provision(template)
    act(services.rotate_credentials, made.tenant)
    old = of(made.tenant, "retiring")
    TenantRole.objects.filter(pk=old.pk).update(retire_at=timezone.now())
    with log_in(made.connection) as session:
        session.execute("BEGIN")
        session.execute("SELECT 1")
        time.sleep(1.1)
        maintenance.retire_logins()
        assert session.execute("SELECT 1").fetchone() == (1,)
        TenantRole.objects.filter(pk=old.pk).update(close_by=timezone.now())
        maintenance.retire_logins()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_looking_costs_one_query_a_cluster_whatever_the_number(template: Any, monkeypatch: Any) -> None:
    from tenants.schemas import roles

    for _ in range(3):
        act(services.rotate_credentials, provision(template).tenant)
    asked = []
    real = roles.last_seen
    monkeypatch.setattr(roles, "last_seen", lambda link, names: asked.append(len(names)) or real(link, names))
    maintenance.watch_logins()
    assert len(asked) == len(set(TenantRole.objects.filter(state="retiring").values_list("tenant__cluster", flat=True)))
    assert max(asked) >= 3


def test_the_new_login_is_like_the_old_one(template: Any) -> None:
    made = provision(template, limits={"lock_timeout_ms": 777, "connection_limit": 61})
    new = act(services.rotate_credentials, made.tenant).connection
    shape = """
        SELECT r.rolconnlimit, r.rolconfig, r.rolinherit, r.rolsuper, r.rolcreaterole, r.rolbypassrls,
               (SELECT array_agg(roleid::regrole::text ORDER BY roleid) FROM pg_auth_members WHERE member = r.oid),
               (SELECT array_agg(setconfig::text) FROM pg_db_role_setting
                 WHERE setrole = r.oid AND setdatabase <> 0)
          FROM pg_roles AS r WHERE rolname = %s"""
    with connect(made.tenant.cluster.dsn()) as link:
        old_shape, new_shape = (link.execute(shape, [user]).fetchone() for user in (made.connection.user, new.user))
    assert old_shape == new_shape
    assert old_shape[0] == 61
    assert "lock_timeout=777ms" in old_shape[1]
    assert {re.sub("[0-9a-f]{12}$", "…", name) for name in old_shape[6]} == {
        "cp_tenants_…", f"{made.tenant.schema_name}_rw",
    }  # fmt: skip


def test_traffic_loses_no_query(template: Any) -> None:
    _traffic(provision(template), log_in)


@needs_pgbouncer
def test_traffic_through_a_pooler_loses_no_query(template: Any) -> None:
    with front("18", template) as made_front:
        _traffic(made_front.tenant(), through)


def _traffic(made: services.Provisioned, log_in_by: Callable[[Any], psycopg.Connection[Any]]) -> None:
    """Three clients: two take up the new credentials when they come, sessions of the third go on with the old ones."""
    clients = Clients(made.connection, log_in_by)
    threads = [threading.Thread(target=clients.run, args=[stubborn]) for stubborn in (False, False, True)]
    for thread in threads:
        thread.start()
    old, done = made.connection.user, clients.done
    try:
        _until(lambda: done[old] > 300)
        new = services.rotate_credentials(tenant_id=made.tenant.pk, **WHO).connection
        before = done[old]
        _until(lambda: done[old] > before + 100)  # the old sessions go on
        clients.present = new
        _until(lambda: done[new.user] > 500)
        TenantRole.objects.filter(name=old).update(retire_at=timezone.now())
        maintenance.retire_logins()  # one client still uses the old one: it stays
        before = done[old]
        _until(lambda: done[new.user] > 1000 and done[old] > before)
    finally:
        clients.enough.set()
        for thread in threads:
            thread.join(20)
    assert clients.failed == []
    assert sum(done.values()) >= 1000
    TenantRole.objects.filter(name=old).update(last_seen_at=None, close_by=timezone.now())
    maintenance.retire_logins()
    with pytest.raises(psycopg.OperationalError):
        log_in_by(made.connection).execute("SELECT 1")
    log_in_by(new).close()


class Clients:
    """Applications that query without a pause. `done` counts by login, `failed` says what went wrong."""

    def __init__(self, present: Any, log_in_by: Callable[[Any], psycopg.Connection[Any]]) -> None:
        self.present, self.log_in_by = present, log_in_by
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self.enough = threading.Event()

    def run(self, stubborn: bool) -> None:
        """One client, until it is enough or a query fails."""
        mine = self.present
        try:
            session = self.log_in_by(mine)
            while not self.enough.is_set():
                if self.present is not mine and not stubborn:
                    session.close()
                    mine = self.present
                    session = self.log_in_by(mine)
                assert session.execute("SELECT count(*) FROM customers").fetchone() is not None
                self.done[mine.user] += 1
            session.close()
        except (psycopg.Error, AssertionError) as error:
            self.failed.append(f"{mine.user[-4:]}: {error}")


def _until(condition: Any) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_an_emergency_ends_live_sessions_though_another_operation_is_under_way(template: Any) -> None:
    made = provision(template)
    busy = operations.create("tenant.update", tenant=made.tenant, actor=ACTOR, source=SOURCE)
    session = log_in(made.connection)
    began = time.monotonic()
    with pytest.raises(Conflict):
        act(services.rotate_credentials, made.tenant, emergency=True, reason="leaked")
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert not can_log_in(made.connection)
    assert time.monotonic() - began < EMERGENCY_SECONDS
    operations.cancel(busy, actor=ACTOR, source=SOURCE)
    new = act(services.rotate_credentials, made.tenant, emergency=True, reason="leaked").connection
    assert can_log_in(new)
    assert not can_log_in(made.connection)
    event = AuditEvent.objects.filter(tenant_id=made.tenant.pk, action="credentials.shut_out").first()
    assert (event.reason, event.after["logins"]) == ("leaked", [f"{made.tenant.schema_name}_rw_{x}" for x in "ab"])


@pytest.mark.parametrize(
    ("options", "field"),
    [({"emergency": True}, "reason"), ({"emergency": True, "reason": "x", "overlap_minutes": 5}, "overlap_minutes")],
)
def test_an_emergency_has_a_reason_and_no_overlap(template: Any, options: dict[str, Any], field: str) -> None:
    made = provision(template)
    with pytest.raises(InvalidInput) as caught:
        act(services.rotate_credentials, made.tenant, **options)
    assert caught.value.field == field
    assert can_log_in(made.connection)


@needs_pgbouncer
@pytest.mark.parametrize("major", ["18", "15"])
def test_an_emergency_is_over_in_5_seconds_pooled_and_direct(template: Any, major: str) -> None:
    with front(major, template) as made_front:
        _emergency(made_front)


def _emergency(made_front: Front) -> None:
    made = made_front.tenant()
    old = made.connection
    pooled, straight = through(old), direct(made_front, old)
    pooled.execute("BEGIN")
    for session in (pooled, straight):
        session.execute("SELECT 1")
    began = time.monotonic()
    new = services.rotate_credentials(tenant_id=made.tenant.pk, emergency=True, reason="leaked", **WHO).connection
    for session in (pooled, straight):
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert made_front.sessions(old.user) == 0
    for way in (through, lambda connection: direct(made_front, connection)):
        with pytest.raises(psycopg.OperationalError):
            way(old)
    assert time.monotonic() - began < EMERGENCY_SECONDS
    with through(new) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
