"""prepare_cluster: what it closes, what it says, and that the level is read and never remembered."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from provisioning import pool
from tenants import clusters, patches
from tenants.exceptions import ClusterUnusable, InvalidInput
from tenants.hardening.levels import ORDER, Level, open_items, reached
from tenants.hardening.prepare import prepare_cluster
from tenants.models import AuditEvent, Cluster, ClusterLogin
from tenants.postgres import connect
from tests.commands.support import call, refusal, text
from tests.isolation.arena import SERVERS, Server, cluster_at, empty_cluster, superuser
from tests.support.fixtures import ACTOR, SOURCE

servers = pytest.mark.parametrize(
    "server", [pytest.param(s, marks=pytest.mark.skipif(bool(s.missing), reason=s.missing)) for s in SERVERS.values()],
    ids=lambda server: f"pg{server.major}",
)  # fmt: skip


def level_now(cluster: Cluster) -> Level:
    with connect(cluster.dsn()) as session:
        return reached(open_items(session))


@servers
def test_each_level_closes_more_and_can_be_repeated(server: Server) -> None:
    with empty_cluster(server) as cluster:
        assert level_now(cluster) == "baseline", "registering closes what the login may"
        for level in ORDER[2:]:
            values: dict[str, Any] = {"cluster": cluster, "level": level, "superuser_url": server.superuser_url,
                                      "actor": ACTOR, "source": SOURCE}  # fmt: skip
            planned = prepare_cluster(**values, dry_run=True)
            assert (planned.level, planned.dry_run) == (level, True)
            assert level_now(cluster) != level, "a dry run changes nothing"
            done = prepare_cluster(**values)
            assert (done.level, done.refused, level_now(cluster)) == (level, [], level)
            assert set(done.logins) == set(ClusterLogin.Purpose.values)
            again = prepare_cluster(**values)
            assert (again.before, again.level) == (level, level)
            assert not [s for s in again.statements if s.startswith("REVOKE") or "; REVOKE" in s]
        event = AuditEvent.objects.filter(action="cluster.prepare", target_id=cluster.pk).latest("id")
        assert event.after["level"] == "sealed"
        statements = "".join([*planned.statements, *done.statements])
        assert not [row for row in ClusterLogin.objects.filter(cluster=cluster) if row.secret in statements]
        assert "SCRAM-SHA-256$4096" not in statements


@servers
def test_the_level_is_what_the_catalog_shows(server: Server) -> None:
    with cluster_at(server, "sealed") as cluster:
        for statement, level, kind in (
            ("GRANT SELECT ON pg_catalog.pg_class TO PUBLIC", "lockdown", "relation"),
            ("DROP EVENT TRIGGER tenant_guard", "baseline", "event trigger"),
            ("GRANT CONNECT ON DATABASE {} TO PUBLIC", "open", "database"),
        ):
            with superuser(server, cluster.dbname) as session:
                session.execute(statement.format(cluster.dbname))
            clusters.check_cluster(cluster)
            cluster.refresh_from_db()
            assert cluster.isolation_level == level
            assert kind in {item["kind"] for item in cluster.isolation_open}
            assert "prepare it again" in cluster.isolation_warning
        assert AuditEvent.objects.filter(action="cluster.level_changed", target_id=cluster.pk).count() == 3
        restored = prepare_cluster(
            cluster=cluster, level="sealed", superuser_url=server.superuser_url, actor=ACTOR, source=SOURCE
        )
        assert (restored.before, restored.level) == ("open", "sealed")
        assert Cluster.objects.get(pk=cluster.pk).isolation_warning == ""


@servers
def test_without_a_superuser_it_does_what_it_may_and_says_what_it_may_not(server: Server) -> None:
    with empty_cluster(server) as cluster:
        code, error = refusal("prepare_cluster", cluster.name, "--level", "sealed")
        assert (code, error.code) == (5, "cluster_unusable")
        assert "baseline" in str(error)
        done = prepare_cluster(cluster=cluster, level="sealed", actor=ACTOR, source=SOURCE)
        assert (done.superuser, done.level, done.logins) == (False, "baseline", [])
        assert {(item["level"], item["kind"]) for item in done.open} >= {
            ("lockdown", "language"), ("lockdown", "function"), ("sealed", "relation"), ("lockdown", "event trigger"),
        }  # fmt: skip


@servers
def test_a_superuser_of_another_server_or_a_bad_string_is_refused(server: Server) -> None:
    others = [other for other in SERVERS.values() if other is not server and not other.missing]
    with empty_cluster(server) as cluster:
        values: dict[str, Any] = {"cluster": cluster, "level": "lockdown", "actor": ACTOR, "source": SOURCE}
        for url in ("not a url at all", "host=db password=hunter2"):
            with pytest.raises(InvalidInput) as caught:
                prepare_cluster(**values, superuser_url=url)
            assert "hunter2" not in str(caught.value)
        with pytest.raises(InvalidInput):
            prepare_cluster(**{**values, "level": "open"})
        for other in others:
            with superuser(other) as session:
                session.execute(f"CREATE DATABASE {cluster.dbname}")
            try:
                with pytest.raises(ClusterUnusable):
                    prepare_cluster(**values, superuser_url=other.superuser_url)
            finally:
                with superuser(other) as session:
                    session.execute(f"DROP DATABASE {cluster.dbname} WITH (FORCE)")


@servers
@pytest.mark.parametrize("level", ["lockdown", "sealed"])
def test_the_product_works_on_a_closed_cluster(server: Server, level: str, template: Any) -> None:
    """Compiling, cloning, fingerprints, acts, sweeps: test_attack.py's tenants are made on closed clusters too."""
    from provisioning import imports
    from tenants.schemas import compiler
    from tests.support.fixtures import TINY, fresh_slug

    with cluster_at(server, level) as cluster:
        version, _ = imports.import_template(
            name=fresh_slug("closed"), origin=compiler.SqlDirectory(TINY), cluster=cluster, actor=ACTOR, source=SOURCE
        )
        assert pool.fill_one(cluster, version, 1)
        copy, _ = imports.import_template(
            name=fresh_slug("copy"), origin=compiler.LiveSchema(version.slots.get().schema_name),
            cluster=cluster, actor=ACTOR, source=SOURCE,
        )  # fmt: skip
        assert copy.fingerprints


def test_the_command_shows_the_sql_and_the_superusers_string_never(tmp_path: Any) -> None:
    server = SERVERS[18]
    with empty_cluster(server) as cluster:
        file = tmp_path / "superuser"
        file.write_text(server.superuser_url)
        arguments = (cluster.name, "--superuser-url-file", str(file))
        shown = text("prepare_cluster", *arguments, "--dry-run")
        assert "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC" in shown
        assert "would reach the level lockdown" in shown
        password = psycopg.conninfo.conninfo_to_dict(server.superuser_url)["password"]
        assert str(password) not in shown
        done = call("prepare_cluster", *arguments)
        assert (done["level"], done["dry_run"]) == ("lockdown", False)
        assert str(password) not in str(done)
        checked = call("check_clusters", cluster.name)["clusters"][0]
        assert checked["isolation_level"] == "lockdown"
        assert refusal("prepare_cluster", cluster.name, "--superuser-url-file", str(tmp_path / "none"))[0] == 2
        assert refusal("prepare_cluster", "no-such-cluster")[1].code == "not_found"


def test_patch_levels() -> None:
    assert patches.warning(180_006) == patches.warning(150_020) == patches.warning(190_000) == ""
    assert "15.20" in patches.warning(150_019)
    assert "18.6" in patches.warning(180_005)


def sees(dsn: Any, statement: str) -> str:
    """'' when a statement works for that login, else the SQLSTATE."""
    try:
        with psycopg.connect(dsn.conninfo(), autocommit=True) as session:
            session.execute("SET default_transaction_read_only = off")  # a default is no protection
            session.execute(statement).fetchall()
    except psycopg.Error as error:
        return error.sqlstate or str(error)
    return ""


@servers
def test_the_logins_can_do_their_job_and_no_other(server: Server, template: Any) -> None:
    with cluster_at(server, "sealed") as cluster:
        pool.fill_one(cluster, template, 1)
        schema = cluster.slots.get().schema_name
        rows = f"SELECT * FROM {schema}.customers"
        activity = "SELECT usename, query FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{cluster.work_dsn().user}'"
        make = "CREATE TABLE public.mine AS SELECT 1"
        roles = "CREATE ROLE cp_test_never"
        take = f"SELECT cp.take_owner('{schema}')"
        denied = "42501"
        expected = {
            "backup": {rows: "", activity: "", make: denied, roles: denied, take: denied, end: denied},
            "monitor": {rows: denied, activity: "", make: denied, roles: denied, take: denied, end: denied},
            "reaper": {rows: denied, activity: "", make: denied, roles: denied, take: denied, end: denied},
            "pooler": {rows: denied, activity: denied, make: denied, roles: denied, take: denied, end: denied},
            "provisioner": {rows: denied, make: denied, roles: denied, take: ""},
        }  # fmt: skip
        for purpose, wanted in expected.items():
            dsn = cluster.dsn(purpose)
            assert dsn.user.startswith(f"cp_{purpose}_")
            assert {statement: sees(dsn, statement) for statement in wanted} == wanted, purpose
        with superuser(server, cluster.dbname) as session:
            facts = session.execute(
                "SELECT rolname FROM pg_roles"
                " WHERE rolname = ANY(%s) AND (rolsuper OR rolcreaterole OR rolreplication)",
                [[row.username for row in cluster.logins.all()]],
            ).fetchall()
        assert facts == []


@servers
def test_the_backup_login_reads_every_row_by_pg_dump(server: Server, template: Any) -> None:
    from tenants.schemas.compiler.pgdump import dump_schema

    with cluster_at(server, "sealed") as cluster:
        pool.fill_one(cluster, template, 1)
        schema = cluster.slots.get().schema_name
        with superuser(server, cluster.dbname) as session:
            session.execute(f"INSERT INTO {schema}.customers (name) VALUES ('the only one')")
        dumped = dump_schema(cluster.dsn("backup"), schema, server_major=server.major)
        assert "the only one" in dumped
