"""A tenant's life through the services, seen from its own login."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from provisioning import credentials, maintenance, services
from provisioning.models import SchemaSlot
from tenants import operations
from tenants.actors import Source
from tenants.exceptions import Conflict, InvalidInput, NotFound, PreconditionFailed
from tenants.models import AuditEvent, Domain, Operation, Plan, Tenant, TenantRole
from tests.provisioning.support import ACTOR, SOURCE, act, can_log_in, leftovers, log_in, provision, warm
from tests.support.fixtures import fresh_slug


def test_a_warm_tenant_is_active_at_once_and_its_login_works(template: Any, plan: Plan) -> None:
    made = provision(template, labels={"tier": "gold"}, limits={"statement_timeout_ms": 4321})
    tenant, connection = Tenant.objects.get(pk=made.tenant.pk), made.connection
    assert connection is not None
    assert (tenant.state, tenant.schema_name, made.operation.state) == ("active", connection.search_path, "succeeded")
    with log_in(connection) as session:
        assert session.execute("SELECT current_user, current_schema").fetchone() == (
            connection.user,
            tenant.schema_name,
        )
        assert session.execute("SHOW statement_timeout").fetchone() == ("4321ms",)
        session.execute("INSERT INTO customers (name) VALUES ('x')")
        assert session.execute("SELECT name FROM customers ORDER BY id").fetchall() == [("House",), ("x",)]
        limit = session.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user").fetchone()
        assert limit == (plan.connection_limit,)
    assert Domain.objects.filter(tenant=tenant, is_primary=True).exists()


def test_every_table_is_under_forced_row_level_security_and_owned_by_nobody_who_logs_in(template: Any) -> None:
    tenant = provision(template).tenant
    with psycopg.connect(tenant.cluster.dsn().conninfo()) as session:
        rows = session.execute(
            "SELECT relname, relrowsecurity AND relforcerowsecurity, pg_get_userbyid(relowner),"
            " (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c"
            " WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')",
            [f'"{tenant.schema_name}"'],
        ).fetchall()
    assert rows
    assert {(forced, owner) for _, forced, owner, _ in rows} == {(True, f"{tenant.schema_name}_owner")}
    assert all(policies for *_, policies in rows)


def test_suspend_ends_sessions_and_resume_gives_the_same_credentials_back(template: Any) -> None:
    made = provision(template)
    session = log_in(made.connection)
    suspended = act(services.suspend_tenant, made.tenant, reason="unpaid")
    assert (suspended.tenant.state, suspended.tenant.state_reason) == ("suspended", "unpaid")
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert not can_log_in(made.connection)
    assert act(services.resume_tenant, made.tenant).tenant.state == "active"
    assert can_log_in(made.connection)


def test_delete_keeps_everything_until_undelete_brings_it_back(template: Any) -> None:
    made = provision(template)
    with log_in(made.connection) as session:
        session.execute("INSERT INTO customers (name) VALUES ('kept')")
    deleted = act(services.delete_tenant, made.tenant, reason="left").tenant
    assert deleted.state == "deleted"
    grace = deleted.purge_after - deleted.deleted_at
    assert grace == timedelta(days=made.tenant.plan.grace_days)
    assert not can_log_in(made.connection)
    back = act(services.undelete_tenant, made.tenant).tenant
    assert (back.state, back.purge_after, back.deleted_at) == ("active", None, None)
    with log_in(made.connection) as session:
        assert session.execute("SELECT name FROM customers ORDER BY id").fetchall() == [("House",), ("kept",)]


def test_undelete_of_a_tenant_that_was_suspended_leaves_it_suspended(template: Any) -> None:
    made = provision(template)
    act(services.suspend_tenant, made.tenant)
    act(services.delete_tenant, made.tenant)
    assert act(services.undelete_tenant, made.tenant).tenant.state == "suspended"
    assert not can_log_in(made.connection)


def test_purge_leaves_nothing_and_frees_the_slug(template: Any) -> None:
    made = provision(template)
    tenant = act(services.delete_tenant, made.tenant, grace_days=0).tenant
    assert maintenance.purge_due() >= 1
    operation = Operation.objects.get(tenant=tenant, kind="tenant.purge")
    operations.work(operation.pk)
    tenant.refresh_from_db()
    assert tenant.state == "purged"
    assert leftovers(tenant.cluster, tenant.schema_name) == []
    assert not SchemaSlot.objects.filter(schema_name=tenant.schema_name).exists()
    assert not TenantRole.objects.filter(tenant=tenant).exists()
    assert provision(template, slug=tenant.slug).tenant.state == "active"


def test_purge_within_the_grace_period_needs_force_slug_and_reason(template: Any) -> None:
    tenant = act(services.delete_tenant, provision(template).tenant).tenant
    with pytest.raises(Conflict) as caught:
        act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="x")
    assert caught.value.code == "grace_period"
    with pytest.raises(InvalidInput):
        act(services.purge_tenant, tenant, confirm_slug="other", reason="x", force=True)
    with pytest.raises(InvalidInput):
        act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason=" ", force=True)
    operation = act(services.purge_tenant, tenant, confirm_slug=tenant.slug, reason="gdpr", force=True).operation
    operations.work(operation.pk)
    assert Tenant.objects.get(pk=tenant.pk).state == "purged"


def test_rotation_overlaps_then_the_old_login_dies_with_its_sessions(template: Any) -> None:
    made = provision(template, limits={"lock_timeout_ms": 777})
    new = act(services.rotate_credentials, made.tenant, overlap_minutes=60).connection
    assert new.user != made.connection.user
    old_session = log_in(made.connection)
    with log_in(new) as session:
        assert session.execute("SHOW lock_timeout").fetchone() == ("777ms",)
        assert session.execute("SELECT current_schema").fetchone() == (made.tenant.schema_name,)
    with pytest.raises(Conflict) as caught:
        act(services.rotate_credentials, made.tenant)
    assert caught.value.code == "overlap_running"
    TenantRole.objects.filter(name=made.connection.user).update(retire_at=timezone.now())
    assert maintenance.retire_logins() >= 1
    with pytest.raises(psycopg.OperationalError):
        old_session.execute("SELECT 1")
    assert not can_log_in(made.connection)
    assert can_log_in(new)
    third = act(services.rotate_credentials, made.tenant, overlap_minutes=0).connection
    assert third.user == made.connection.user
    assert can_log_in(third)
    assert not can_log_in(new)
    assert not can_log_in(made.connection), "the first password must not work again"


def test_patch_reaches_the_live_login_and_checks_the_version(template: Any) -> None:
    Plan.objects.get_or_create(slug="wide", defaults={"name": "Wide", "connection_limit": 321})
    made = provision(template)
    changes = {"plan": "wide", "labels": {"a": "b"}, "name": "New", "limits": {"statement_timeout_ms": 5000}}
    outcome = act(services.update_tenant, made.tenant, changes=changes, expected_version=made.tenant.version)
    tenant = outcome.tenant
    assert (tenant.name, tenant.plan.slug, tenant.labels) == ("New", "wide", {"a": "b"})
    assert tenant.version > made.tenant.version
    with log_in(made.connection) as session:
        assert session.execute("SHOW statement_timeout").fetchone() == ("5s",)
        found = session.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user").fetchone()
        assert found == (321,)
    with pytest.raises(PreconditionFailed):
        act(services.update_tenant, made.tenant, changes={"name": "Y"}, expected_version=made.tenant.version)
    with pytest.raises(InvalidInput):
        act(services.update_tenant, made.tenant, changes={"schema_name": "x"})


@pytest.mark.parametrize(
    "kwargs",
    [{"slug": "Bad Slug"}, {"name": ""}, {"plan": "nope"}, {"template": "nope"}, {"cluster": "nope"},
     {"labels": {"": ""}},
     {"limits": {"connection_limit": 49}}, {"limits": {"connection_limit": 501}}, {"limits": {"nope": 1}},
     {"limits": {"lock_timeout_ms": True}}],
)  # fmt: skip
def test_bad_input_changes_nothing(template: Any, kwargs: dict[str, Any]) -> None:
    before = Tenant.objects.count(), Operation.objects.count(), AuditEvent.objects.count()
    values = {"name": "A", "slug": fresh_slug(), "template": template.template.name, **kwargs}
    with pytest.raises(InvalidInput):
        services.provision_tenant(**values, actor=ACTOR, source=SOURCE)
    assert (Tenant.objects.count(), Operation.objects.count(), AuditEvent.objects.count()) == before


def test_wrong_states_are_conflicts_that_say_what_to_do(template: Any) -> None:
    tenant = provision(template).tenant
    for service in (services.resume_tenant, services.undelete_tenant):
        with pytest.raises(Conflict) as caught:
            act(service, tenant)
        assert caught.value.hint
    with pytest.raises(NotFound):
        services.suspend_tenant(tenant_id="nonsense", actor=ACTOR, source=SOURCE)


def test_cold_provisioning_ends_in_the_same_state_and_hands_its_credentials_out_once(template: Any) -> None:
    cold = services.provision_tenant(
        name="Cold", slug=fresh_slug(), template=template.template.name, respond_async=True, actor=ACTOR, source=SOURCE
    )
    assert cold.connection is None
    assert (cold.tenant.state, cold.operation.state) == ("provisioning", "pending")
    with pytest.raises(Conflict) as caught:
        credentials.collect_credentials(operation_id=cold.operation.pk, actor=ACTOR, source=SOURCE)
    assert caught.value.code == "not_finished"
    operations.work(cold.operation.pk)
    connection = credentials.collect_credentials(operation_id=cold.operation.pk, actor=ACTOR, source=SOURCE)
    assert can_log_in(connection)
    with pytest.raises(Conflict) as caught:
        credentials.collect_credentials(operation_id=cold.operation.pk, actor=ACTOR, source=SOURCE)
    assert (caught.value.code, caught.value.status) == ("already_collected", 410)
    warm_tenant = provision(template).tenant
    cold_tenant = Tenant.objects.get(pk=cold.tenant.pk)
    assert cold_tenant.state == warm_tenant.state
    assert cold_tenant.slot.state == warm_tenant.slot.state == "claimed"
    steps = Operation.objects.get(pk=cold.operation.pk).steps.values_list("name", "state")
    assert list(steps) == [(name, "succeeded") for name in ("create roles", "clone schema", "open login")]


def test_of_many_requests_with_one_slug_exactly_one_wins(template: Any, cluster: Any) -> None:
    from django.db import connections

    warm(cluster, template, 8)
    slug, outcomes, barrier = fresh_slug(), [], threading.Barrier(8)

    def create() -> None:
        barrier.wait()
        try:
            made = services.provision_tenant(
                name="R", slug=slug, template=template.template.name, actor=ACTOR, source=SOURCE
            )
            outcomes.append(made.tenant.state)
        except Conflict as error:
            outcomes.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["active"] + ["slug_taken"] * 7
    assert Tenant.objects.filter(slug=slug).count() == 1


def test_concurrent_claims_get_different_slots_and_none_fails(template: Any, cluster: Any) -> None:
    from django.db import connections

    warm(cluster, template, 10)
    made, errors, barrier = [], [], threading.Barrier(10)

    def create() -> None:
        barrier.wait()
        try:
            made.append(
                services.provision_tenant(
                    name="C", slug=fresh_slug(), template=template.template.name, actor=ACTOR, source=SOURCE
                )
            )
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({one.tenant.schema_name for one in made}) == 10
    assert all(can_log_in(one.connection) for one in made if one.connection)


def test_each_act_stands_in_the_audit_log_without_secrets(template: Any) -> None:
    who = {"actor": ACTOR, "source": Source("rest", "192.0.2.7", "abc")}
    made = provision(template, **who)
    services.suspend_tenant(tenant_id=made.tenant.pk, reason="why", **who)
    services.resume_tenant(tenant_id=made.tenant.pk, **who)
    rotated = services.rotate_credentials(tenant_id=made.tenant.pk, **who)
    services.delete_tenant(tenant_id=made.tenant.pk, **who)
    services.undelete_tenant(tenant_id=made.tenant.pk, **who)
    events = AuditEvent.objects.filter(tenant_id=made.tenant.pk).order_by("id")
    assert list(events.values_list("action", flat=True)) == [
        "tenant.create", "tenant.provision", "tenant.suspend", "tenant.resume", "credentials.rotate", "tenant.delete",
        "tenant.undelete",
    ]  # fmt: skip
    assert (events[1].reason, events[2].reason) == ("", "why")
    assert {(event.channel, event.ip, event.request_id) for event in events} == {("rest", "192.0.2.7", "abc")}
    assert (events[2].before, events[2].after["state"]) == ({"state": "active"}, "suspended")
    text = str(list(events.values()))
    for password in (made.connection.password, rotated.connection.password):
        assert password not in text
        assert password not in str(list(Operation.objects.filter(tenant=made.tenant).values()))
        assert password not in str(list(TenantRole.objects.filter(tenant=made.tenant).values()))


@pytest.mark.parametrize("statement", ["UPDATE tenants_auditevent SET action = 'x'", "DELETE FROM tenants_auditevent",
                                       "TRUNCATE tenants_auditevent"])  # fmt: skip
def test_the_database_refuses_to_change_the_audit_log(template: Any, statement: str) -> None:
    from django.db import connection, transaction
    from django.db.utils import ProgrammingError

    provision(template)
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_second_operation_names_the_first(template: Any) -> None:
    tenant = provision(template).tenant
    first = operations.create("tenant.suspend", tenant=tenant, actor=ACTOR, source=SOURCE)
    with pytest.raises(Conflict) as caught:
        act(services.suspend_tenant, tenant)
    assert (caught.value.code, caught.value.extra["operation"]) == ("operation_in_progress", str(first.pk))
    operations.cancel(first, actor=ACTOR, source=SOURCE)
    assert Operation.objects.get(pk=first.pk).state == "cancelled"
    assert act(services.suspend_tenant, tenant).tenant.state == "suspended"
