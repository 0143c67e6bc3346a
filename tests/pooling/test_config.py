"""The pooler's configuration follows plans, is read without dropping anybody, and holds no tenant's password."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provisioning import services
from tenants import clusters, plans, pooling
from tenants.exceptions import ClusterUnavailable, ClusterUnusable, Conflict, InvalidInput
from tenants.models import AuditEvent, Plan, Pooler
from tests.pooling.support import WHO, Front, bouncer, database, needs_pgbouncer, registered, server, through
from tests.support.fixtures import fresh_slug

pytestmark = needs_pgbouncer


def test_a_client_in_a_long_transaction_survives_a_new_configuration(front18: Front) -> None:
    connection = front18.tenant().connection
    path = front18.bouncer.tenants_file
    with through(connection) as session, through(connection) as idle:
        idle.execute("SELECT 1")
        session.execute("BEGIN")
        before = session.execute("SELECT pg_backend_pid(), txid_current()").fetchone()
        path.write_text(path.read_text() + "; changed by somebody else\n")
        applied = pooling.sync_pooler(front18.pooler, **WHO)
        assert applied.changed
        assert "somebody else" not in path.read_text()
        assert session.execute("SELECT pg_backend_pid(), txid_current()").fetchone() == before
        session.execute("COMMIT")
        assert idle.execute("SELECT 1").fetchone() == (1,)
    assert not pooling.sync_pooler(front18.pooler, **WHO).changed
    event = AuditEvent.objects.filter(action="pooler.configure", target_id=str(front18.pooler.pk)).latest("id")
    assert event.after["cluster"] == front18.cluster.name


def test_the_pool_has_the_default_plans_size(front18: Front) -> None:
    size = Plan.objects.get(is_default=True).pool_size
    with pooling_console(front18) as console:
        settings = {row[0]: row[1] for row in console.execute("SHOW CONFIG").fetchall()}
    assert int(settings["default_pool_size"]) == size
    assert settings["admin_users"] == "cp_pooler"
    assert not settings["auth_user"], "with one for all, the console would be asked for tenants"


def pooling_console(front: Front) -> psycopg.Connection[Any]:
    own = front.pooler.dsn().conninfo()
    return psycopg.connect(own, autocommit=True, cursor_factory=psycopg.ClientCursor)


@pytest.mark.parametrize("version", ["1.18.0", "1.23.1", "1.24.0"])
def test_each_version_is_told_what_it_understands(front18: Front, version: str) -> None:
    """A login that 1.18 finds by name in its file is never looked up on the server: it would be locked out."""
    plan = plans.create_plan(slug=fresh_slug("big"), name="Big", pool_size=77, client_limit=777, **WHO)
    made = front18.tenant(plan=plan.slug)
    other = front18.tenant(plan=plan.slug, limits={"pool_size": 5})
    usual = front18.tenant()
    pooler = front18.pooler
    pooler.version = version
    text = pooling.included_text(pooler)
    users = dict(line.split(" = ") for line in text.partition("[users]\n")[2].splitlines())
    assert usual.connection.user not in text
    clients = " max_user_client_connections=777" if version == "1.24.0" else ""
    if version == "1.18.0":
        assert users == {}
    else:
        assert users[made.connection.user] == f"pool_size=77{clients}"
        assert users[other.connection.user] == f"pool_size=5{clients}"
        assert {name.rpartition("_")[0] for name in users} >= {made.tenant.schema_name + "_rw"}
    assert ("max_user_client_connections = " in text) == (version == "1.24.0")
    assert len(pooler.warnings()) == {"1.18.0": 3, "1.23.1": 2, "1.24.0": 1}[version]


def test_a_tenants_own_pool_size_is_used_where_pgbouncer_knows_it(front18: Front) -> None:
    made = front18.tenant(limits={"pool_size": 2, "client_limit": 3})
    pooling.sync_pooler(front18.pooler, **WHO)
    sessions = [through(made.connection) for _ in range(2)]
    if front18.pooler.version_info < (1, 24):
        assert not list(filter(made.connection.user.__contains__, [front18.bouncer.tenants_file.read_text()]))
        pytest.skip(f"PgBouncer {front18.pooler.version} has no limits of a login")
    for session in sessions:
        session.execute("BEGIN")
        session.execute("SELECT 1")
    third = through(made.connection)
    with pytest.raises(psycopg.Error):
        through(made.connection)
    third.close()
    assert front18.sessions(made.connection.user) == 2
    services.update_tenant(tenant_id=made.tenant.pk, changes={"limits": {"pool_size": 3}}, **WHO)
    assert pooling.sync_pooler(front18.pooler, **WHO).changed
    with through(made.connection) as session:
        session.execute("SELECT 1")
    assert front18.sessions(made.connection.user) == 3
    for session in sessions:
        session.close()


def test_files_are_private_and_hold_no_password_but_the_poolers(front18: Front) -> None:
    connection = front18.tenant().connection
    pooling.sync_pooler(front18.pooler, **WHO)
    home = front18.bouncer.home
    for name in ("pgbouncer.ini", "users.txt", "tenants.ini", "pgbouncer.log"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
    text = "".join((home / name).read_text() for name in ("pgbouncer.ini", "users.txt", "tenants.ini", "pgbouncer.log"))
    assert connection.password not in text
    assert (home / "users.txt").read_text() == f'"cp_pooler" "{front18.server.pooler_password}"\n'
    row = front18.pooler
    assert front18.server.pooler_password not in row.secret
    assert Path(f"/proc/{front18.bouncer.pid}").stat().st_uid != 0


def test_a_pooler_that_does_not_work_is_refused_and_nothing_is_kept(template: Any) -> None:
    where = server("18")
    with database(where) as dbname, bouncer(where) as made:
        cluster = registered(where, dbname)
        good = {"cluster": cluster, "host": "127.0.0.1", "port": made.port, "password": where.pooler_password, **WHO}
        for wrong, refusal in (
            ({"port": 1}, ClusterUnavailable), ({"password": "wrong"}, ClusterUnavailable),
            ({"host": ""}, InvalidInput), ({"port": 0}, InvalidInput),
            ({"config_path": "/nonexistent/tenants.ini"}, InvalidInput),
            ({}, ClusterUnusable),  # its file was never written, so it knows no database
            ({"config_path": str(made.tenants_file), "server_port": 1}, ClusterUnusable),
        ):  # fmt: skip
            with pytest.raises(refusal):
                pooling.register_pooler(**{**good, **wrong})
            assert not Pooler.objects.filter(cluster=cluster).exists()
        assert cluster.public_address() == (cluster.host, cluster.port)
        pooler = pooling.register_pooler(**good, config_path=str(made.tenants_file))
        assert (pooler.state, pooler.last_error) == ("up", "")
        with pytest.raises(Conflict):
            pooling.register_pooler(**good, config_path=str(made.tenants_file))
        told(cluster, made.port, made.port)
        made.stop()
        assert pooling.check_all() < Pooler.objects.count()
        pooler.refresh_from_db()
        assert pooler.state == "down"
        assert pooler.last_error
        pooling.remove_pooler(pooler=pooler, **WHO)
        told(cluster, cluster.port, cluster.port)


def told(cluster: Any, port: int, without: int) -> None:
    """An operator's own public address comes before the pooler's."""
    fresh = type(cluster).objects.get(pk=cluster.pk)
    assert fresh.public_address() == ("127.0.0.1", port)
    clusters.update_cluster(cluster=fresh, changes={"public_host": "db.example.com"}, **WHO)
    assert type(cluster).objects.get(pk=cluster.pk).public_address() == ("db.example.com", without)
    clusters.update_cluster(cluster=fresh, changes={"public_host": ""}, **WHO)


def test_traffic_is_read_as_numbers(front18: Front) -> None:
    connection = front18.tenant().connection
    with through(connection) as session:
        session.execute("BEGIN")
        session.execute("SELECT 1")
        traffic = pooling.read_traffic(front18.pooler)
        pool = next(pool for pool in traffic.pools if pool.login == connection.user)
        assert (pool.database, pool.clients_active, pool.clients_waiting) == (front18.cluster.dbname, 1, 0)
        assert pool.servers_active == 1
    stats = next(row for row in traffic.stats if row.database == front18.cluster.dbname)
    assert stats.queries > 0
    assert stats.sent_bytes > 0
    checked = pooling.check_pooler(front18.pooler)
    assert checked.facts["clients"] >= 0
    assert checked.version == traffic.version
