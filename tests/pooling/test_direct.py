"""Tenants kept from the server itself, for real: its pg_hba.conf is changed, and they are tried at the door."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from controlplane.embedded.execute import POSTGRES15_BIN
from controlplane.embedded.postgres import EmbeddedPostgres
from provisioning import credentials, services, slots
from tenants import clusters, operations, plans, pooling, tasks
from tenants.exceptions import ClusterUnusable, Conflict, InvalidInput
from tenants.hardening.prepare import superuser_dsn
from tenants.models import AuditEvent, Cluster, Pooler, Tenant
from tenants.postgres import close_pools
from tests.commands.support import call, manage, text
from tests.embedded.homes import new_home, remove_home
from tests.pooling.support import WHO, bouncer, needs_pgbouncer, through
from tests.support.fixtures import fresh_slug

pytestmark = needs_pgbouncer
# The control plane's own login is a member of the tenants' group, and not to be shut out.
OWN = 'local all "controlplane" scram-sha-256\nhost all "controlplane" all scram-sha-256\n'
GUESTS = f"+{clusters.guests_of('controlplane')}"


@dataclass
class House:
    """A server of this module's own with a PgBouncer that comes by its socket, and one tenant."""

    server: EmbeddedPostgres
    cluster: Cluster
    connection: Any

    @property
    def pooler(self) -> Pooler:
        return Pooler.objects.select_related("cluster").get(cluster=self.cluster)

    def superuser(self) -> Any:
        return superuser_dsn(self.server.superuser_url, self.cluster)

    def direct(self) -> None:
        """The tenant at the server itself."""
        psycopg.connect(self.connection.dsn, host="127.0.0.1", port=self.server.port, connect_timeout=5).close()

    def pooled(self) -> None:
        with through(self.connection) as session:
            assert session.execute("SELECT current_user").fetchone() == (self.connection.user,)


@pytest.fixture(scope="module", params=["18", "15"])
def house(request: pytest.FixtureRequest, template: Any) -> Iterator[House]:
    directory = Path(os.environ.get("POSTGRES15_BIN") or POSTGRES15_BIN) if request.param == "15" else None
    if directory is not None and not (directory / "postgres").is_file():
        pytest.skip("no PostgreSQL 15")
    home = new_home()
    with ExitStack() as exits:
        exits.callback(remove_home, home)
        server = EmbeddedPostgres(home / "postgres", bin_dir=directory, durable=False, say=lambda _: None)
        exits.callback(server.stop)
        server.start()
        server.bootstrap()
        front = exits.enter_context(bouncer(server))
        own = psycopg.conninfo.conninfo_to_dict(server.url)
        cluster = clusters.register_cluster(
            name=fresh_slug("house"), host="127.0.0.1", port=server.port, dbname="controlplane",
            username="controlplane", password=str(own["password"]), pool_target=0, **WHO,
        )  # fmt: skip
        exits.callback(lambda: (Tenant.objects.filter(cluster=cluster).update(state="failed"), close_pools()))
        exits.callback(lambda: Cluster.objects.filter(pk=cluster.pk).update(state="disabled"))
        exits.callback(lambda: Pooler.objects.filter(cluster=cluster).delete())
        pooling.register_pooler(
            cluster=cluster, host="127.0.0.1", port=front.port, password=server.pooler_password,
            config_path=str(front.tenants_file), server_host=str(server.socket_dir), **WHO,
        )  # fmt: skip
        assert slots.build(slots.reserve(cluster, template))
        exits.callback(close_pools)
        made = services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=cluster.name, template=template.template.name, **WHO
        )
        yield House(server, cluster, made.connection)


def test_closed_tenants_reach_only_the_pooler_and_opened_both(house: House) -> None:
    house.direct()
    house.pooled()
    hba = house.server.data / "pg_hba.conf"
    before, status = hba.read_text(), hba.stat()
    answer = pooling.set_direct(pooler=house.pooler, door="closed", superuser=house.superuser(), **WHO)
    assert (answer.applied, answer.pooler.direct_found) == (True, "closed")
    assert hba.read_text().endswith(before)
    assert (hba.stat().st_uid, hba.stat().st_mode) == (status.st_uid, status.st_mode)
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        house.direct()
    house.pooled()
    psycopg.connect(house.cluster.dsn().conninfo()).close()  # the control plane's own login is not touched
    once = hba.read_text()
    pooling.set_direct(pooler=house.pooler, door="closed", superuser=house.superuser(), **WHO)
    assert hba.read_text() == once
    event = AuditEvent.objects.filter(action="pooler.direct_access", target_id=str(house.pooler.pk)).latest("id")
    assert event.after == {"cluster": house.cluster.name, "wanted": "closed", "applied": True}

    answer = pooling.set_direct(pooler=house.pooler, door="open", superuser=house.superuser(), **WHO)
    assert answer.pooler.direct_found == "open"
    assert hba.read_text() == before
    house.direct()


def test_those_with_databases_of_their_own_are_kept_out_too_and_later_ones(house: House, template: Any) -> None:
    plan = plans.create_plan(slug=fresh_slug("own"), name="Own", isolation_tier="database", **WHO)

    def one() -> Any:
        made = services.provision_tenant(
            name="Own", slug=fresh_slug(), cluster=house.cluster.name, template=template.template.name,
            plan=plan.slug, **WHO,
        )  # fmt: skip
        operations.work(made.operation.pk)
        return credentials.collect_credentials(operation_id=made.operation.pk, **WHO)

    def direct(connection: Any) -> None:
        psycopg.connect(connection.dsn, host="127.0.0.1", port=house.server.port, connect_timeout=5).close()

    first = one()
    direct(first)
    answer = pooling.set_direct(pooler=house.pooler, door="closed", superuser=house.superuser(), **WHO)
    try:
        assert answer.pooler.direct_found == "closed"
        for connection in (first, one()):
            with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
                direct(connection)
            with through(connection) as session:
                assert session.execute("SELECT current_database()").fetchone() == (connection.dbname,)
    finally:
        answer = pooling.set_direct(pooler=house.pooler, door="open", superuser=house.superuser(), **WHO)
    assert answer.pooler.direct_found == "open"
    for tenant in Tenant.objects.filter(plan=plan):
        begun = services.purge_tenant(tenant_id=tenant.pk, confirm_slug=tenant.slug, reason="end", force=True, **WHO)
        operations.work(begun.operation.pk)
        assert Tenant.objects.get(pk=tenant.pk).state == "purged"


def test_without_a_superuser_the_lines_are_shown_and_every_check_tells_how_it_is(house: House) -> None:
    answer = pooling.set_direct(pooler=house.pooler, door="closed", **WHO)
    assert not answer.applied
    assert answer.lines == OWN + (
        'local "controlplane" +cp_tenants scram-sha-256\nhost "controlplane" +cp_tenants all reject\n'
        f"local all {GUESTS} scram-sha-256\nhost all {GUESTS} all reject\n"
    )
    assert any("Direct access to the server is open" in line for line in house.pooler.warnings())
    hba = house.server.data / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(answer.lines + before)  # somebody does it by hand
    with psycopg.connect(house.server.superuser_url, autocommit=True) as session:
        session.execute("SELECT pg_reload_conf(), pg_sleep(0.5)")
    tasks.check_poolers()
    assert house.pooler.direct_found == "closed"
    assert not any("Direct access" in line for line in house.pooler.warnings())
    hba.write_text(before)  # and takes it away again
    with psycopg.connect(house.server.superuser_url, autocommit=True) as session:
        session.execute("SELECT pg_reload_conf(), pg_sleep(0.5)")
    tasks.check_poolers()
    assert house.pooler.direct_found == "open"
    pooling.set_direct(pooler=house.pooler, door="open", **WHO)


def test_a_pooler_elsewhere_comes_from_its_address(house: House) -> None:
    pooler = house.pooler
    pooler.server_host, pooler.host = "db.example.com", "192.0.2.7"
    assert pooling.hba_lines(pooler) == OWN + (
        'host "controlplane" +cp_tenants 192.0.2.7/32 scram-sha-256\nlocal "controlplane" +cp_tenants reject\n'
        'host "controlplane" +cp_tenants all reject\n'
        f"host all {GUESTS} 192.0.2.7/32 scram-sha-256\nlocal all {GUESTS} reject\nhost all {GUESTS} all reject\n"
    )
    assert pooling.advice(pooler) == ""
    pooler.host = "127.0.0.1"
    assert "so can any tenant" in pooling.advice(pooler)


def test_what_is_refused(house: House) -> None:
    with pytest.raises(InvalidInput):
        pooling.set_direct(pooler=house.pooler, door="ajar", **WHO)
    Pooler.objects.filter(cluster=house.cluster).update(state="down")
    with pytest.raises(Conflict):
        pooling.set_direct(pooler=house.pooler, door="closed", **WHO)
    tasks.check_poolers()
    hba = house.server.data / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text("a line that means nothing\n" + before)
    try:
        with pytest.raises(ClusterUnusable):
            pooling.set_direct(pooler=house.pooler, door="closed", superuser=house.superuser(), **WHO)
        assert hba.read_text() == "a line that means nothing\n" + before
    finally:
        hba.write_text(before)
    assert house.pooler.direct_wanted == "open"


def test_by_command(house: House) -> None:
    ran = manage(
        "direct_access", house.cluster.name, "--close", "--json", CLUSTER_SUPERUSER_URL=house.server.superuser_url
    )
    assert ran.code == 0, ran.err
    assert (ran.document["found"], ran.document["applied"]) == ("closed", True)
    assert call("direct_access", house.cluster.name)["found"] == "closed"
    assert "closed" in text("direct_access", house.cluster.name)
    ran = manage("direct_access", house.cluster.name, "--open", "--json")
    assert ran.code != 0
    assert ran.problem["detail"].startswith("Direct access is closed, not open")
    ran = manage("direct_access", house.cluster.name, "--open", CLUSTER_SUPERUSER_URL=house.server.superuser_url)
    assert ran.code == 0, ran.err
    house.direct()
