"""A registry for the length of a benchmark: a database beside the control plane's own, of which nothing stays."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import redis
from django.conf import settings
from django.db import connection as own_connection
from psycopg import sql

from tenants import clusters
from tenants.postgres import Dsn, connect, load_queries
from tenants.schemas import roles

PREFIX = "cpbench_"
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
# Dropping a database removes each of its files, of which hundreds of schemas have many.
DROP_TIMEOUT_MS = 600_000


def own_dsn() -> Dsn:
    """The control plane's own database."""
    own = own_connection.settings_dict
    return Dsn(
        host=own["HOST"] or "localhost",
        port=int(own["PORT"] or 5432),
        dbname=own["NAME"],
        user=own["USER"],
        password=own["PASSWORD"] or "",
        sslmode=own.get("OPTIONS", {}).get("sslmode", "prefer"),
    )


def _url(dsn: Dsn) -> str:
    user, password = quote(dsn.user, safe=""), quote(dsn.password, safe="")
    query = urlencode({"sslmode": dsn.sslmode})
    return f"postgres://{user}:{password}@{dsn.host}:{dsn.port}/{dsn.dbname}?{query}"


@contextmanager
def registry() -> Iterator[dict[str, str]]:
    """The environment of a control plane with a database and a queue of its own, migrated; gone after the block.

    What killed benchmarks left is taken away first. Raises what `tenants.postgres.connect` does.
    """
    dsn, name = own_dsn(), PREFIX + secrets.token_hex(6)
    with connect(dsn, autocommit=True, application_name=name, statement_timeout_ms=DROP_TIMEOUT_MS) as held:
        for (abandoned,) in held.execute(QUERIES["abandoned_databases"]).fetchall():
            drop(dsn, abandoned)
        try:
            held.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            environment = _environment(dsn.replace(dbname=name))
            migrate = [sys.executable, "manage.py", "migrate_schemas", "--shared", "--verbosity", "0"]
            subprocess.run(migrate, cwd=settings.BASE_DIR, env=environment, check=True, stdout=2)  # noqa: S603
            yield environment
        finally:
            drop(dsn, name)


def _environment(dsn: Dsn) -> dict[str, str]:
    given = {key: value for key, value in os.environ.items() if key != "DATABASE_URL_FILE"}
    return given | {
        "DATABASE_URL": _url(dsn),
        "CELERY_QUEUE": dsn.dbname,
        "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        "LOG_LEVEL": "WARNING",
        "API_RATE": "1000000/min",
        "ALLOWED_HOSTS": "127.0.0.1",
        "PUBLIC_URL": "http://127.0.0.1",
        "HTTPS": "false",
        "TENANT_APPS": "",
    }


def drop(dsn: Dsn, name: str) -> None:
    """Remove the scratch database `name`, the roles of the tenants in it, and its queue. Can be repeated."""
    clusters.prepare(dsn)
    with connect(dsn, autocommit=True, application_name="bench", statement_timeout_ms=DROP_TIMEOUT_MS) as connection:
        stems = [row[0] for row in connection.execute(QUERIES["roles_of_database"], [name]).fetchall()]
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        for stem in stems:
            roles.drop_roles(connection, stem)
    _forget_queue(name)


def _forget_queue(name: str) -> None:
    """Redis may be a developer's: only keys that bear the benchmark's own name are deleted."""
    with redis.Redis.from_url(settings.REDIS_URL) as server:
        keys = list(server.scan_iter(match=f"*{name}*", count=1000))
        if keys:
            server.delete(*keys)
