"""Additional logins: what they may, how they end, and that they end."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.utils import timezone
from psycopg import sql

from provisioning import maintenance, services, slots
from provisioning.models import TenantCredential
from tenants.exceptions import Conflict, ControlPlaneError, InvalidInput, NotFound
from tenants.models import AuditEvent
from tenants.postgres import connect
from tests.pooling.support import WHO, front, needs_pgbouncer, registered, server, through
from tests.provisioning.support import act, can_log_in, leftovers, log_in, provision
from tests.support.fixtures import fresh_slug

WHY = {"owner": "Ada (support)", "reason": "ticket 4711"}


def issue(made: Any, **options: Any) -> Any:
    return act(services.issue_credential, made.tenant, **{**WHY, **options})


def role_exists(made: Any, login: str) -> bool:
    with connect(made.tenant.cluster.dsn()) as link:
        return link.execute("SELECT to_regrole(%s) IS NOT NULL", [login]).fetchone() == (True,)


def test_a_read_only_login_reads_its_tenant_and_writes_nothing(template: Any) -> None:
    made, other = provision(template), provision(template)
    with log_in(made.connection) as session:
        session.execute("INSERT INTO customers (name) VALUES ('Ada')")
    issued = issue(made, minutes=60)
    with log_in(issued.connection) as session:
        assert session.execute("SELECT current_schema").fetchone() == (made.tenant.schema_name,)
        assert session.execute("SELECT count(*) FROM customers WHERE name = 'Ada'").fetchone() == (1,)
        session.execute("SET default_transaction_read_only = off")
        session.execute("SET transaction_read_only = off")
        for statement in (
            "INSERT INTO customers (name) VALUES ('x')", "UPDATE customers SET name = 'x'", "DELETE FROM customers",
            "TRUNCATE customers CASCADE", f"SET ROLE {made.tenant.schema_name}_rw",
            f"SET ROLE {made.tenant.schema_name}_owner", f"SELECT * FROM {other.tenant.schema_name}.customers",
            "CREATE TABLE mine ()",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)
        limits = session.execute("SELECT rolconnlimit, rolvaliduntil FROM pg_roles WHERE rolname = current_user")
        connections, until = limits.fetchone()
    assert connections == 5
    assert abs(until - issued.credential.expires_at) < timedelta(seconds=1)


def test_a_read_write_login_may_what_the_tenants_own_may(template: Any) -> None:
    made = provision(template, limits={"lock_timeout_ms": 777})
    with log_in(issue(made, access="read_write").connection) as session:
        session.execute("INSERT INTO customers (name) VALUES ('Bob')")
        assert session.execute("SHOW lock_timeout").fetchone() == ("777ms",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DROP TABLE customers CASCADE")


def test_its_time_is_over_and_it_is_gone_with_its_sessions(template: Any) -> None:
    made = provision(template)
    issued, lasting = issue(made), issue(made)
    session = log_in(issued.connection)
    maintenance.watch_logins()
    TenantCredential.objects.filter(pk=issued.credential.pk).update(expires_at=timezone.now())
    assert maintenance.close_credentials() >= 1
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert not role_exists(made, issued.credential.login)
    row = TenantCredential.objects.get(pk=issued.credential.pk)
    assert (row.closed_because, row.last_seen_at is not None) == ("Its time was over.", True)
    assert can_log_in(lasting.connection)
    assert can_log_in(made.connection)
    event = AuditEvent.objects.filter(tenant_id=made.tenant.pk, action="credential.close").first()
    assert (event.channel, event.after) == ("beat", {"login": row.login, "sessions_ended": 1})


def test_the_server_itself_ends_it_when_beat_does_not(template: Any) -> None:
    made = provision(template)
    issued = issue(made)
    with connect(made.tenant.cluster.dsn(), autocommit=True) as link:
        link.execute(
            "SELECT cp.open_credential(%s, %s, (SELECT %s), now() - interval '1 s', 5, '{}', ARRAY['x'])",
            [made.tenant.schema_name, issued.credential.login, verifier(link, issued.connection)],
        )
    assert not can_log_in(issued.connection)


def verifier(link: Any, connection: Any) -> str:
    return link.pgconn.encrypt_password(
        connection.password.encode(), connection.user.encode(), b"scram-sha-256"
    ).decode()


@pytest.mark.parametrize("act_name", ["suspend_tenant", "delete_tenant"])
def test_a_tenant_that_is_shut_out_takes_them_along(template: Any, act_name: str) -> None:
    made = provision(template)
    issued = issue(made, access="read_write")
    session = log_in(issued.connection)
    act(getattr(services, act_name), made.tenant)
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert not role_exists(made, issued.credential.login)
    with pytest.raises(Conflict):
        issue(made)
    act(services.resume_tenant if act_name == "suspend_tenant" else services.undelete_tenant, made.tenant)
    assert can_log_in(made.connection)
    assert not can_log_in(issued.connection), "it does not come back"


def test_a_suspension_that_fails_lets_them_in_again(template: Any, monkeypatch: Any) -> None:
    from provisioning import workflows

    def refuse(*_: Any, **__: Any) -> None:
        raise Conflict("Somebody was faster.", code="state_changed")

    made = provision(template)
    issued = issue(made)
    monkeypatch.setattr(workflows, "move", refuse)
    with pytest.raises(ControlPlaneError):
        act(services.suspend_tenant, made.tenant)
    assert can_log_in(made.connection)
    assert can_log_in(issued.connection)


def test_a_purge_leaves_none_even_if_the_registry_knows_nothing_of_it(template: Any) -> None:
    from provisioning import slots

    made = provision(template)
    issued = issue(made)
    session = log_in(issued.connection)
    TenantCredential.objects.all().filter(pk=issued.credential.pk).delete()
    slots.remove_from_cluster(made.tenant.cluster, made.tenant.schema_name)
    assert leftovers(made.tenant.cluster, made.tenant.schema_name) == []
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def test_what_died_between_row_and_login_is_found(template: Any) -> None:
    made = provision(template)
    row = TenantCredential.objects.create(
        tenant=made.tenant, login=f"{made.tenant.schema_name}_ro_abcdef", expires_at=timezone.now(), **WHY
    )
    maintenance.close_credentials()
    row.refresh_from_db()
    assert row.closed_at is not None


def test_whoever_shuts_the_tenant_out_meanwhile_wins(template: Any, monkeypatch: Any) -> None:
    """Between the row and the login: the login is never made, or it is found."""
    from provisioning.services import additional

    made = provision(template)
    real = additional._open

    def late(*arguments: Any) -> None:
        act(services.suspend_tenant, made.tenant)
        real(*arguments)

    monkeypatch.setattr(additional, "_open", late)
    with pytest.raises(Conflict) as caught:
        issue(made)
    assert caught.value.code == "state_changed"
    row = made.tenant.credentials.get()
    assert row.closed_at is not None
    assert not role_exists(made, row.login)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"minutes": 0}, "minutes"), ({"minutes": 129_601}, "minutes"), ({"minutes": True}, "minutes"),
     ({"access": "owner"}, "access"), ({"owner": " "}, "owner"), ({"reason": ""}, "reason")],
)  # fmt: skip
def test_bad_input_makes_nothing(template: Any, options: dict[str, Any], field: str) -> None:
    made = provision(template)
    with pytest.raises(InvalidInput) as caught:
        issue(made, **options)
    assert caught.value.field == field
    assert not made.tenant.credentials.exists()


def test_the_functions_on_the_cluster_know_the_names(template: Any) -> None:
    one, other = provision(template), provision(template)
    schema = one.tenant.schema_name
    with connect(one.tenant.cluster.dsn(), autocommit=True) as link:
        hashed = verifier(link, one.connection)
        for login in (
            f"{other.tenant.schema_name}_ro_abcdef", f"{schema}_rw_a", f"{schema}_owner", f"{schema}_ro",
            f"{schema}_ro_abcde1", f"{schema}_ro_abcdefg", "postgres", f"{schema}_ro_abcdef\n", None,
        ):  # fmt: skip
            for call, values in (
                ("cp.open_credential(%s, %s, %s, now(), 5, '{}', '{x}')", [schema, login, hashed]),
                ("cp.drop_credential(%s, %s)", [schema, login]),
            ):
                with pytest.raises((psycopg.errors.InvalidName, psycopg.errors.RaiseException)):
                    link.execute(f"SELECT {call}".encode(), values)
    assert can_log_in(one.connection)


def test_closing_twice_is_once_and_anothers_is_not_found(template: Any) -> None:
    made, other = provision(template), provision(template)
    issued = issue(made)
    with pytest.raises(NotFound):
        act(services.close_credential, other.tenant, credential_id=issued.credential.pk)
    for credential_id in ("nonsense", None):
        with pytest.raises(NotFound):
            act(services.close_credential, made.tenant, credential_id=credential_id)
    first, second = (
        act(services.close_credential, made.tenant, credential_id=issued.credential.pk, reason=reason)
        for reason in "ab"
    )
    assert (first.closed_because, second.closed_because) == ("a", "a")
    assert AuditEvent.objects.filter(tenant_id=made.tenant.pk, action="credential.close").count() == 1


def test_there_is_an_end_to_them(template: Any, monkeypatch: Any) -> None:
    from provisioning.services import additional

    monkeypatch.setattr(additional, "MAX_OPEN", 2)
    made = provision(template)
    first, _ = issue(made), issue(made)
    with pytest.raises(Conflict) as caught:
        issue(made)
    assert caught.value.code == "too_many_credentials"
    act(services.close_credential, made.tenant, credential_id=first.credential.pk)
    assert can_log_in(issue(made).connection)


def test_its_password_is_stored_nowhere(template: Any) -> None:
    made = provision(template)
    issued = issue(made)
    rows = [*TenantCredential.objects.values(), *AuditEvent.objects.filter(tenant_id=made.tenant.pk).values()]
    assert issued.credential.login in str(rows)
    assert issued.connection.password not in str(rows)


@needs_pgbouncer
@pytest.mark.parametrize("major", ["18", "15"])
def test_it_goes_through_the_pooler_too(template: Any, major: str) -> None:
    with front(major, template) as made_front:
        made = made_front.tenant()
        issued = issue(made)
        with through(issued.connection) as session:
            assert session.execute("SELECT current_user").fetchone() == (issued.credential.login,)
            act(services.close_credential, made.tenant, credential_id=issued.credential.pk)
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            through(issued.connection)


def test_they_live_where_no_superuser_has_installed_the_functions(template: Any) -> None:
    where = server(
        "15"
    )  # from 16 on, the groups would have to be the login's own, too, and on this server they are not
    name = fresh_slug("bare").replace("-", "_")
    with psycopg.connect(where.url, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    try:
        cluster = registered(where, name)
        assert slots.build(slots.reserve(cluster, template))
        made = services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=cluster.name, template=template.template.name, **WHO
        )
        with connect(cluster.dsn()) as link:
            owner = "SELECT proowner = current_user::regrole FROM pg_proc WHERE oid = 'cp.version()'::regprocedure"
            assert link.execute(owner).fetchone() == (True,)
        first, second = issue(made), issue(made, access="read_write")
        with log_in(first.connection) as session:
            assert session.execute("SELECT count(*) FROM customers").fetchone() is not None
        act(services.close_credential, made.tenant, credential_id=first.credential.pk)
        act(services.suspend_tenant, made.tenant)
        assert not can_log_in(second.connection)
        assert [role_exists(made, one.credential.login) for one in (first, second)] == [False, False]
        slots.remove_from_cluster(cluster, made.tenant.schema_name)
        assert leftovers(cluster, made.tenant.schema_name) == []
    finally:
        with psycopg.connect(where.url, autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def command(name: str, *arguments: str) -> Any:
    out = StringIO()
    call_command(name, *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_commands(template: Any) -> None:
    made = provision(template)
    slug = made.tenant.slug
    issued = command("issue_credential", slug, "--owner", "Ada", "--reason", "why", "--minutes", "5")
    assert issued["access"] == "read_only"
    with psycopg.connect(issued["connection"]["dsn"]) as session:
        assert session.execute("SELECT current_user").fetchone() == (issued["login"],)
    listed = command("list_credentials", slug)
    assert [row["state"] for row in listed["logins"]] == ["active", "off"]
    assert [row["id"] for row in listed["additional"]] == [issued["id"]]
    assert issued["connection"]["password"] not in str(listed)
    assert command("close_credential", slug, issued["id"], "--reason", "done")["closed_because"] == "done"
    assert command("list_credentials", slug)["additional"] == []
    assert len(command("list_credentials", slug, "--all")["additional"]) == 1
    shown = command("reveal_credentials", slug, "--reason", "test")
    assert shown["connection"]["password"] == made.connection.password
    out = StringIO()
    call_command("list_credentials", slug, "--all", stdout=out)
    assert "Ada" in out.getvalue()
