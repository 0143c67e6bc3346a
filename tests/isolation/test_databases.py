"""Databases of one server: who lives in one cannot connect to another, whatever the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from provisioning import services, slots
from provisioning.isolation.check import check_isolation
from tenants import clusters
from tenants.models import Cluster, IsolationFinding, TenantProbe
from tests.isolation.arena import SERVERS, Server, cluster_at, group_of, shared_roles, superuser
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}


class Two:
    """Two databases of one server, with a tenant in each."""

    def __init__(self, server: Server, first: Cluster, second: Cluster, template: Any) -> None:
        self.server, self.template = server, template
        self.first, self.second = first, second
        self.a, self.b = self.tenant(first), self.tenant(second)

    def tenant(self, cluster: Cluster) -> Any:
        assert slots.build(slots.reserve(cluster, self.template))
        return services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=cluster.name, template=self.template.template.name, **WHO
        )

    def superuser(self, *statements: str) -> None:
        with superuser(self.server, self.first.dbname) as session:
            for statement in statements:
                session.execute(statement)


@pytest.fixture(scope="module", params=[18, 15])
def two(request: pytest.FixtureRequest, template: Any) -> Iterator[Two]:
    server = SERVERS[request.param]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as first, cluster_at(server, "baseline") as second:
        yield Two(server, first, second, template)


def gets_in(connection: Any, dbname: str = "") -> bool:
    try:
        psycopg.connect(connection.dsn, dbname=dbname or connection.dbname, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        if "permission denied for database" in str(error):
            return False
        raise
    return True


def test_each_gets_into_its_own_and_into_no_other(two: Two) -> None:
    assert gets_in(two.a.connection)
    assert gets_in(two.b.connection)
    assert not gets_in(two.a.connection, two.second.dbname)
    assert not gets_in(two.b.connection, two.first.dbname)


def test_every_kind_of_login_gets_in(two: Two) -> None:
    """The other one of the two, an additional one, and a migrator."""
    rotated = services.rotate_credentials(tenant_id=two.a.tenant.pk, **WHO)
    lent = services.issue_credential(tenant_id=two.a.tenant.pk, owner="Eve", reason="looking", **WHO)
    migrator = services.open_migrator(tenant_id=two.a.tenant.pk, minutes=5, reason="migrating", **WHO)
    for made in (rotated, lent, migrator):
        assert gets_in(made.connection)
        assert not gets_in(made.connection, two.second.dbname)


def test_a_database_of_before_is_migrated_by_preparing_it(two: Two) -> None:
    made = two.tenant(two.first)
    group, schema = group_of(two.first.dbname), made.tenant.schema_name
    with shared_roles(two.server, change=True):
        two.superuser(  # as version 6 left it
            f"GRANT CONNECT ON DATABASE {two.first.dbname} TO cp_tenants",
            f"GRANT cp_tenants TO {schema}_rw_a, {schema}_rw_b",
            f"REVOKE CONNECT ON DATABASE {two.first.dbname} FROM {group}",
            f"DROP ROLE {group}",
        )
        assert gets_in(two.b.connection, two.first.dbname), "as it was: one group for all"
        found = check_isolation(cluster=two.first, sample=0, **WHO)
        assert not found.ok
        assert IsolationFinding.objects.filter(
            cluster=two.first, resolved_at=None, code="shared_grant", subject=f"database {two.first.dbname}"
        ).exists()
        for _ in range(2):
            clusters.prepare(two.first.dsn())
            assert gets_in(made.connection)
        assert not gets_in(two.b.connection, two.first.dbname)
        assert check_isolation(cluster=two.first, sample=0, **WHO).ok


def test_a_setting_that_a_tenant_makes_for_another_database_does_not_let_it_in(two: Two) -> None:
    """It may make one: what tells whose a login is must not be that."""
    with psycopg.connect(two.b.connection.dsn, autocommit=True) as session:
        session.execute(f"ALTER ROLE {two.b.connection.user} IN DATABASE {two.first.dbname} SET work_mem = '4MB'")
    clusters.prepare(two.first.dsn())
    assert not gets_in(two.b.connection, two.first.dbname)


def test_trying_another_database_is_part_of_the_proof(two: Two) -> None:
    with shared_roles(two.server, change=True):
        made = two.tenant(two.first)
        assert check_isolation(cluster=two.first, sample=0, tenants=[made.tenant], **WHO).ok
        assert TenantProbe.objects.get(tenant=made.tenant).results["another_tenants_database"] == "denied"
        # Wherever it is tried, it works now.
        two.superuser(f"GRANT {group_of(two.second.dbname)} TO {made.connection.user}")
        check = check_isolation(cluster=two.first, sample=0, **WHO)
        assert not check.ok
        finding = IsolationFinding.objects.get(cluster=two.first, resolved_at=None)
        assert (finding.code, finding.offender) == ("membership", made.tenant.schema_name)
        two.superuser(f"REVOKE {group_of(two.second.dbname)} FROM {made.connection.user}")
        assert check_isolation(cluster=two.first, sample=0, **WHO).ok
