"""Who gets in through the pooler, and who is out when a login is closed."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from psycopg import sql

from provisioning import services, slots
from tenants import pooling
from tenants.hardening import template as template_of_databases
from tenants.hardening.prepare import prepare_cluster
from tenants.models import ClusterLogin
from tenants.postgres import connect
from tenants.reaping import reap_cluster
from tests.pooling.support import WHO, Front, direct, needs_pgbouncer, through
from tests.pooling.support import front as new_front
from tests.provisioning.support import act
from tests.support.fixtures import fresh_slug

pytestmark = needs_pgbouncer
OUT_SECONDS = 5.0


def gets_in(connection: Any) -> bool:
    """Whether a new session through the pooler gets an answer."""
    try:
        with through(connection) as session:
            return session.execute("SELECT 1").fetchone() == (1,)
    except psycopg.Error:
        return False


def gets_nothing(session: psycopg.Connection[Any]) -> bool:
    """Whether a session that was there before is of no use any more."""
    try:
        session.execute("SELECT count(*) FROM customers").fetchone()
    except psycopg.Error:
        return True
    return False


def test_a_tenant_is_told_the_poolers_address_and_gets_rows_there(front: Front) -> None:
    connection = front.tenant().connection
    assert (connection.host, connection.port) == ("127.0.0.1", front.bouncer.port)
    with through(connection) as session:
        session.execute("INSERT INTO customers (name) VALUES ('of mine')")
        found = session.execute("SELECT current_user, name FROM customers WHERE name = 'of mine'").fetchall()
        assert found == [(connection.user, "of mine")]
        assert session.info.server_version // 10000 == front.cluster.server_version_num // 10000


def test_from_rest_to_rows(front: Front, api_client: Any) -> None:
    """What a service does: ask for a tenant, connect with the answer, work."""
    assert slots.build(slots.reserve(front.cluster, front.template))
    body = {"name": "Acme", "slug": fresh_slug(), "cluster": front.cluster.name}
    answer = api_client().post("tenants", body | {"template": front.template.template.name})
    assert answer.status_code == 201, answer.content
    told = answer.json()["connection"]
    assert (told["host"], told["port"]) == ("127.0.0.1", front.bouncer.port)
    with psycopg.connect(told["dsn"], prepare_threshold=None) as session:
        session.execute("INSERT INTO customers (name) VALUES ('by REST')")
    with psycopg.connect(told["dsn"], prepare_threshold=None) as session:
        assert session.execute("SELECT count(*) FROM customers WHERE name = 'by REST'").fetchone() == (1,)


def test_only_tenants_pass(front: Front) -> None:
    connection = front.tenant().connection
    own = front.cluster.dsn()
    superuser = psycopg.conninfo.conninfo_to_dict(front.server.superuser_url)
    for user, password in (
        (own.user, own.password), (superuser["user"], superuser["password"]), (connection.user, "wrong"),
        ("cp_tenants", ""), (f"{connection.search_path.split(',')[0]}_owner", ""),
    ):  # fmt: skip
        with pytest.raises(psycopg.OperationalError, match="FATAL"):
            psycopg.connect(connection.dsn, user=user, password=password or "x", connect_timeout=5).close()
    for dbname in ("postgres", "pgbouncer"):  # another database of the same server; the console
        with pytest.raises(psycopg.OperationalError, match="FATAL"):
            psycopg.connect(connection.dsn, dbname=dbname, connect_timeout=5).close()


def test_a_verifier_is_looked_up_only_for_tenants_that_may_log_in(front: Front) -> None:
    connection = front.tenant().connection
    lookup = "SELECT usename, passwd FROM cp.pooler_lookup(%s)"
    pooler = psycopg.connect(
        front.server.url, user="cp_pooler", password=front.server.pooler_password, dbname=front.cluster.dbname,
        autocommit=True,
    )  # fmt: skip
    login = sql.Identifier(connection.user)
    with pooler, front.superuser() as admin, direct(front, connection) as tenant:
        assert [row[0] for row in pooler.execute(lookup, [connection.user])] == [connection.user]
        for name in ("postgres", "controlplane", "cp_pooler", "cp_tenants", "nobody", None):
            assert pooler.execute(lookup, [name]).fetchall() == []
        for change, back in (
            ("VALID UNTIL '2001-01-01'", "VALID UNTIL 'infinity'"), ("NOLOGIN", "LOGIN"), ("SUPERUSER", "NOSUPERUSER"),
            ("CREATEROLE", "NOCREATEROLE"), ("BYPASSRLS", "NOBYPASSRLS"),
        ):  # fmt: skip
            admin.execute(sql.SQL("ALTER ROLE {} " + change).format(login))
            assert pooler.execute(lookup, [connection.user]).fetchall() == [], change
            admin.execute(sql.SQL("ALTER ROLE {} " + back).format(login))
        assert len(pooler.execute(lookup, [connection.user]).fetchall()) == 1
        own = psycopg.connect(front.cluster.dsn().conninfo(), autocommit=True)
        with own:
            for session in (tenant, own):  # nobody else may ask, not even the control plane
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(lookup, [connection.user])
        for statement in ("SELECT rolpassword FROM pg_authid", "SELECT cp.version()", "CREATE TEMP TABLE x ()"):
            if statement.startswith("CREATE") and pooler.execute(
                "SELECT has_database_privilege(current_database(), 'TEMP')"
            ).fetchone() == (True,):
                continue  # PUBLIC's, until the database is locked down
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                pooler.execute(statement)


def test_a_suspended_tenants_clients_get_nothing_and_a_resumed_ones_work(front: Front) -> None:
    made = front.tenant()
    connection = made.connection
    idle, busy, straight = through(connection), through(connection), direct(front, connection)
    for session in (idle, busy, straight):
        session.execute("SELECT 1")
    busy.execute("BEGIN")
    busy.execute("SELECT 1")
    began = time.monotonic()
    act(services.suspend_tenant, made.tenant)
    assert front.sessions(connection.user) == 0
    for session in (busy, straight):
        assert gets_nothing(session)
    assert not gets_in(connection)
    assert time.monotonic() - began < OUT_SECONDS
    assert gets_nothing(idle)  # it may hang for a while, and then it fails
    assert front.sessions(connection.user) == 0
    act(services.resume_tenant, made.tenant)
    assert gets_in(connection), "at once: the service waits until the pooler lets it in"
    with direct(front, connection) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_one_tenants_suspension_does_not_touch_another(front: Front) -> None:
    one, other = front.tenant(), front.tenant()
    with through(other.connection) as session:
        session.execute("BEGIN")
        backend = session.execute("SELECT pg_backend_pid()").fetchone()
        act(services.suspend_tenant, one.tenant)
        assert session.execute("SELECT pg_backend_pid()").fetchone() == backend
        session.execute("COMMIT")


def test_an_emergency_rotation_ends_the_old_login_pooled_and_direct(front: Front) -> None:
    made = front.tenant()
    old = made.connection
    pooled, straight = through(old), direct(front, old)
    pooled.execute("BEGIN")
    pooled.execute("SELECT 1")
    straight.execute("SELECT 1")
    began = time.monotonic()
    new = services.rotate_credentials(tenant_id=made.tenant.pk, overlap_minutes=0, **WHO).connection
    assert gets_nothing(pooled)
    assert gets_nothing(straight)
    assert not gets_in(old)
    assert gets_in(new)
    assert front.sessions(old.user) == 0
    assert time.monotonic() - began < OUT_SECONDS


def test_a_login_that_is_used_again_works_with_its_new_password_only(front: Front) -> None:
    """Rotating twice comes back to the first login: the pooler must not remember its old verifier or keys."""
    made = front.tenant()
    first = made.connection
    assert gets_in(first)
    second = services.rotate_credentials(tenant_id=made.tenant.pk, overlap_minutes=0, **WHO).connection
    assert gets_in(second)
    third = services.rotate_credentials(tenant_id=made.tenant.pk, overlap_minutes=0, **WHO).connection
    assert third.user == first.user
    assert gets_in(third)
    assert not gets_in(first)
    assert not gets_in(second)


def test_a_deleted_tenant_is_out_and_an_undeleted_one_is_in(front: Front) -> None:
    made = front.tenant()
    assert gets_in(made.connection)
    act(services.delete_tenant, made.tenant)
    assert not gets_in(made.connection)
    act(services.undelete_tenant, made.tenant)
    assert gets_in(made.connection)


@pytest.mark.parametrize("major", ["18", "15"])
@pytest.mark.parametrize("level", ["lockdown", "sealed"])
def test_it_works_on_a_cluster_that_is_closed(template: Any, major: str, level: str) -> None:
    """The pooler looks up, tenants come through, suspension and the reaper work, whatever else is shut."""
    with new_front(major, template) as made:
        superuser = psycopg.conninfo.make_conninfo(made.server.superuser_url, dbname=made.cluster.dbname)
        done = prepare_cluster(cluster=made.cluster, level=level, superuser_url=superuser, **WHO)
        names = list(ClusterLogin.objects.filter(cluster=made.cluster).values_list("username", flat=True))
        try:
            assert done.level == level
            assert pooling.check_pooler(made.pooler).state == "up"
            tenant = made.tenant()
            assert gets_in(tenant.connection)
            with through(tenant.connection) as session:
                session.execute("INSERT INTO customers (name) VALUES ('x')")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute("SELECT * FROM cp.pooler_lookup('x')")
            with connect(made.cluster.dsn("reaper"), autocommit=True) as reaper:
                assert reap_cluster(made.cluster, reaper).reaped == []
            act(services.suspend_tenant, tenant.tenant)
            assert not gets_in(tenant.connection)
            act(services.resume_tenant, tenant.tenant)
            assert gets_in(tenant.connection)
        finally:
            with made.superuser() as session:
                template_of_databases.drop(session, made.cluster)
                for name in names:
                    session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def test_the_reaper_meets_offenders_behind_the_pooler_too(front: Front) -> None:
    made = front.tenant(limits={"idle_in_transaction_timeout_ms": 300})
    with through(made.connection) as offender, through(made.connection) as other:
        offender.execute("SET idle_in_transaction_session_timeout = 0")
        offender.execute("BEGIN")
        offender.execute("SELECT 1")
        time.sleep(1)
        with connect(front.cluster.dsn("reaper"), autocommit=True) as reaper:
            (ended,) = reap_cluster(front.cluster, reaper).reaped
        assert (ended.candidate.rule, ended.candidate.login) == ("idle_in_transaction", made.connection.user)
        assert gets_nothing(offender)
        assert other.execute("SELECT 1").fetchone() == (1,)
