"""check_isolation: a clean fleet gives no finding, each kind of violation planted on a real server is found."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.test import override_settings
from psycopg import sql

from provisioning import imports, isolation, services, slots
from provisioning.isolation.check import PURPOSE, check_isolation
from tenants import plans
from tenants.hardening.proof import prove
from tenants.models import AuditEvent, Cluster, IsolationFinding, Tenant, TenantProbe
from tenants.postgres import connect
from tenants.schemas import roles
from tenants.schemas.compiler import SqlDirectory
from tests.commands.support import call, refusal, text
from tests.isolation.arena import SERVERS, Server, cluster_at, empty_cluster, shared_roles, superuser, touches_all
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

WHO: dict[str, Any] = {"actor": ACTOR, "source": SOURCE}
REFERENCE = Path(imports.__file__).parent / "reference" / "trading"
NINE = {
    "read", "write", "become_another", "become_owner", "join_another", "make_in_public", "make_in_another",
    "control_plane", "another_database",
}  # fmt: skip


class Fleet:
    """A prepared cluster with tenants, and a superuser who does what nobody should."""

    def __init__(self, server: Server, cluster: Cluster, template: Any) -> None:
        self.server, self.cluster, self.template = server, cluster, template
        self.a, self.b = self.tenant(), self.tenant()

    def tenant(self) -> Any:
        assert slots.build(slots.reserve(self.cluster, self.template))
        return services.provision_tenant(
            name="Acme", slug=fresh_slug(), cluster=self.cluster.name, template=self.template.template.name, **WHO
        )

    def sabotage(self, text: str) -> None:
        """Run SQL as superuser; {a}, {b}: the schemas, {login}: a's login, {db}: the database."""
        names = {
            "a": self.a.tenant.schema_name, "b": self.b.tenant.schema_name, "login": self.a.connection.user,
            "db": self.cluster.dbname, "owner": self.cluster.username,
        }  # fmt: skip
        with superuser(self.server, self.cluster.dbname) as session:
            session.execute(text.format(**names))

    def open(self) -> set[tuple[str, str]]:
        rows = IsolationFinding.objects.filter(cluster=self.cluster, resolved_at=None)
        return set(rows.values_list("code", "severity"))

    def check(self, **options: Any) -> Any:
        return check_isolation(cluster=self.cluster, **{"sample": 0, **options}, **WHO)


@pytest.fixture(scope="module", params=[18, 15])
def fleet(request: pytest.FixtureRequest, template: Any) -> Iterator[Fleet]:
    server = SERVERS[request.param]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, "lockdown") as cluster:
        yield Fleet(server, cluster, template)


@pytest.fixture(autouse=True)
def _roles_of_the_server(request: pytest.FixtureRequest) -> Iterator[None]:
    params = request.node.callspec.params
    server = SERVERS[params.get("fleet", params.get("major"))]
    if server.missing:
        pytest.skip(server.missing)
    with shared_roles(server, change=touches_all(params.get("plant", ""))):
        yield


def test_a_clean_fleet_gives_no_finding(fleet: Fleet) -> None:
    check = fleet.check(sample=2)
    rows = list(IsolationFinding.objects.filter(cluster=fleet.cluster).values_list("code", "subject", "detail"))
    assert rows == []
    assert (check.ok, check.error, check.unverified) == (True, "", [])
    assert check.schemas >= 2
    assert check.probed == 2
    for made in (fleet.a, fleet.b):
        probe = TenantProbe.objects.get(tenant=made.tenant)
        assert probe.ok
        assert set(probe.results.values()) == {"denied"}, probe.results
        assert set(probe.results) - {"another_tenants_database"} == NINE


def test_the_reference_template_gives_no_finding_either(fleet: Fleet) -> None:
    """What `make run` comes with, which has one of everything that a template may have."""
    origin = SqlDirectory(REFERENCE)
    version, _ = imports.import_template(name=fresh_slug("trading"), origin=origin, cluster=fleet.cluster, **WHO)
    slot = slots.reserve(fleet.cluster, version)
    assert slots.build(slot)
    fleet.check()
    found = IsolationFinding.objects.filter(cluster=fleet.cluster, resolved_at=None, schema_name=slot.schema_name)
    assert list(found.values_list("code", "subject", "detail")) == []


@pytest.mark.parametrize("level", ["baseline", "sealed"])
@pytest.mark.parametrize("major", [18, 15])
def test_a_clean_fleet_gives_no_finding_at_the_other_levels(major: int, level: str, template: Any) -> None:
    server = SERVERS[major]
    if server.missing:
        pytest.skip(server.missing)
    with cluster_at(server, level) as cluster:
        fleet = Fleet(server, cluster, template)
        check = fleet.check(sample=2)
        rows = list(IsolationFinding.objects.filter(cluster=cluster).values_list("code", "subject", "detail"))
        assert (rows, check.error, check.unverified, check.probed, check.ok) == ([], "", [], 2, True)


@pytest.mark.parametrize("major", [18, 15])
def test_without_a_superuser_it_says_what_it_could_not_read(major: int, template: Any) -> None:
    """As on a managed service: the cluster's own login has installed the functions, and may not read passwords."""
    server = SERVERS[major]
    if server.missing:
        pytest.skip(server.missing)
    with empty_cluster(server) as cluster:
        with superuser(server, cluster.dbname) as session:
            # The servers of the tests come with a superuser's functions in every database.
            session.execute("ALTER FUNCTION cp.verifier_drift() OWNER TO controlplane")
            session.execute("ALTER TABLE cp.verifiers OWNER TO controlplane")
        fleet = Fleet(server, cluster, template)
        check = fleet.check()
        assert [text.split(":")[0] for text in check.unverified] == ["verifiers"]
        assert (check.ok, check.critical, check.warnings) == (True, 0, 0)
        fleet.sabotage("GRANT {b}_ro TO {login}")
        assert not fleet.check().ok
        fleet.sabotage("REVOKE {b}_ro FROM {login}")
        assert fleet.check().ok


PLANTED = [
    tuple(one.values())
    for one in tomllib.loads(Path(__file__).with_name("violations.toml").read_text(encoding="utf-8"))["planted"]
]


@pytest.mark.parametrize(("code", "severity", "plant", "mend"), PLANTED, ids=lambda value: str(value)[:40])
def test_a_planted_violation_is_found_and_then_gone(
    fleet: Fleet, code: str, severity: str, plant: str, mend: str
) -> None:
    fleet.sabotage(plant)
    try:
        check = fleet.check()
        assert (code, severity) in fleet.open()
        assert check.ok == (severity == "warning")
    finally:
        fleet.sabotage(mend)
    assert fleet.check().ok
    assert fleet.open() == set()


def test_a_password_that_somebody_else_set_is_seen_and_no_verifier_is_kept(fleet: Fleet) -> None:
    with psycopg.connect(fleet.a.connection.dsn, autocommit=True) as session:  # nothing keeps a tenant from it
        session.execute(sql.SQL("ALTER ROLE {} PASSWORD 'chosen'").format(sql.Identifier(fleet.a.connection.user)))
    fleet.check()
    assert fleet.open() == {("password", "warning")}
    with superuser(fleet.server, fleet.cluster.dbname) as session:
        rows = session.execute("SELECT v.hash::text FROM cp.verifiers v").fetchall()
        assert rows
        assert not [row for row in rows if "SCRAM" in bytes.fromhex(row[0][2:]).decode("latin-1")]
    fleet.sabotage("ALTER ROLE {login} PASSWORD NULL")
    fleet.check()
    assert fleet.open() == {("password", "warning")}
    schema, login = fleet.a.tenant.schema_name, fleet.a.connection.user
    with connect(fleet.cluster.dsn(), autocommit=True) as own:
        roles.set_password(own, schema, login, fleet.a.connection.password)
    fleet.check()
    assert fleet.open() == set()


def test_a_violation_is_audited_once_when_it_begins_and_when_it_ends(fleet: Fleet) -> None:
    def actions() -> list[str]:
        rows = AuditEvent.objects.filter(tenant_id=fleet.a.tenant.pk, action__startswith="isolation.").order_by("id")
        return list(rows.values_list("action", flat=True))

    before = len(actions())
    fleet.sabotage("GRANT {b}_ro TO {login}")
    fleet.check()
    fleet.check()
    assert actions()[before:] == ["isolation.violation"]
    event = AuditEvent.objects.filter(tenant_id=fleet.a.tenant.pk, action="isolation.violation").latest("id")
    assert event.after["code"] == "membership"
    assert event.after["offender"] == fleet.a.tenant.schema_name
    fleet.sabotage("REVOKE {b}_ro FROM {login}")
    fleet.check()
    assert actions()[before:] == ["isolation.violation", "isolation.resolved"]


def test_what_a_tenants_own_login_can_reach_is_found_by_trying(fleet: Fleet) -> None:
    made = fleet.tenant()
    fleet.sabotage(f"GRANT pg_read_all_data TO {made.connection.user}")
    try:
        check = fleet.check(tenants=[made.tenant])
        probe = TenantProbe.objects.get(tenant=made.tenant)
        # Row-level security still holds, but the schema can be entered: a row that is there would not be refused.
        assert (probe.ok, probe.results["read"], probe.results["write"]) == (False, "reached", "denied")
        assert ("probe", "critical") in fleet.open()
        assert not check.ok
    finally:
        fleet.sabotage(f"REVOKE pg_read_all_data FROM {made.connection.user}")
    assert not fleet.check().ok, "a finding by trying stays open until that tenant is tried again"
    assert fleet.check(tenants=[made.tenant]).ok


def test_by_policy_the_offender_is_shut_out_at_once(fleet: Fleet) -> None:
    made = fleet.tenant()
    fleet.sabotage(f"GRANT {{b}}_rw TO {made.connection.user}")
    try:
        fleet.check()
        assert Tenant.objects.get(pk=made.tenant.pk).state == "active", "the default is to report"
        with override_settings(ISOLATION_ON_VIOLATION="suspend"):
            fleet.check()
        assert Tenant.objects.get(pk=made.tenant.pk).state == "suspended"
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(made.connection.dsn)
        assert Tenant.objects.get(pk=fleet.b.tenant.pk).state == "active"
    finally:
        fleet.sabotage(f"REVOKE {{b}}_rw FROM {made.connection.user}")
    assert fleet.check().ok


@pytest.mark.parametrize(
    ("policy", "setting", "state"), [("suspend", "report", "suspended"), ("report", "suspend", "active")]
)
def test_the_plan_goes_before_the_setting(fleet: Fleet, policy: str, setting: str, state: str) -> None:
    made = fleet.tenant()
    own = plans.create_plan(slug=fresh_slug("plan"), name="Own", on_violation=policy, actor=ACTOR, source=SOURCE)
    services.update_tenant(tenant_id=made.tenant.pk, changes={"plan": own.slug}, actor=ACTOR, source=SOURCE)
    fleet.sabotage(f"GRANT {{b}}_rw TO {made.connection.user}")
    try:
        with override_settings(ISOLATION_ON_VIOLATION=setting):
            fleet.check()
        assert Tenant.objects.get(pk=made.tenant.pk).state == state
    finally:
        fleet.sabotage(f"REVOKE {{b}}_rw FROM {made.connection.user}")


def test_new_tenants_are_tried_without_being_asked_for(fleet: Fleet) -> None:
    made = fleet.tenant()
    assert not TenantProbe.objects.filter(tenant=made.tenant).exists()
    assert isolation.probe_new_tenants() >= 1
    assert TenantProbe.objects.get(tenant=made.tenant).ok


def test_the_number_of_queries_is_the_same_for_two_and_for_twenty(fleet: Fleet) -> None:
    def look() -> tuple[int, int]:
        counted = 0
        with connect(fleet.cluster.dsn(PURPOSE), autocommit=True) as connection:
            execute = connection.execute

            def counting(*arguments: Any, **options: Any) -> Any:
                nonlocal counted
                counted += 1
                return execute(*arguments, **options)

            connection.execute = counting  # type: ignore[method-assign]
            proof = prove(connection, level="lockdown")
        return len(proof.schemas), counted

    few, queries = look()
    for _ in range(20 - few):
        assert slots.build(slots.reserve(fleet.cluster, fleet.template))
    many, again = look()
    assert many >= 20 > few
    assert again == queries
    assert fleet.check().ok


def test_by_command_and_by_rest(fleet: Fleet, api_client: Any) -> None:
    done = call("check_isolation", fleet.cluster.name, "--sample", "1")["clusters"][0]
    assert (done["ok"], done["probed"], done["findings"], done["unverified"]) == (True, 1, [], [])
    fleet.sabotage("GRANT {b}_ro TO {login}")
    try:
        code, error = refusal("check_isolation", fleet.cluster.name, "--sample", "0")
        assert (code, error.code) == (5, "cluster_unusable")
        shown = api_client("clusters:read").get(f"clusters/{fleet.cluster.pk}").json()["isolation_check"]
        assert (shown["ok"], shown["critical"]) == (False, 2)
        query = f"isolation-findings?cluster={fleet.cluster.name}&state=open&severity=critical"
        found = api_client("clusters:read").get(query).json()["results"]
        told = {(finding["code"], finding["tenant"]) for finding in found}
        assert told == {("membership", str(fleet.a.tenant.pk)), ("member", str(fleet.b.tenant.pk))}
    finally:
        fleet.sabotage("REVOKE {b}_ro FROM {login}")
    assert "proven" in text("check_isolation", fleet.cluster.name)


def test_a_cluster_that_cannot_be_read_is_not_proven(fleet: Fleet) -> None:
    Cluster.objects.filter(pk=fleet.cluster.pk).update(port=1)
    try:
        check = check_isolation(cluster=Cluster.objects.get(pk=fleet.cluster.pk), **WHO)
        assert not check.ok
        assert check.error
    finally:
        Cluster.objects.filter(pk=fleet.cluster.pk).update(port=fleet.cluster.port)
