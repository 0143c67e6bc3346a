"""The servers templates are tried on: the newest PostgreSQL and the oldest that we support."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tenants.schemas.compiler import scratch
from tests.compiler.support import Server, dsn_of
from tests.support.databases import maintenance_url


def _server(url: str | None, superuser_url: str | None, name: str) -> Iterator[Server]:
    if not url or not superuser_url:
        pytest.skip(f"{name} is not there: use `make test`, or `controlplane.embedded exec --with-postgres15`")
    database = f"cp_compiler_{secrets.token_hex(5)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        server = Server(
            dsn=dsn_of(url).replace(dbname=database),
            superuser=dsn_of(superuser_url).replace(dbname=database),
            major=admin.info.server_version // 10_000,
        )
        yield server
    # As a superuser: sessions of one may still be going away, and only one may end these.
    with psycopg.connect(superuser_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
        for role in server.roles:
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture(scope="module")
def newest() -> Iterator[Server]:
    """A database of its own on the newest PostgreSQL."""
    yield from _server(maintenance_url(), os.environ.get("SUPERUSER_DATABASE_URL"), "SUPERUSER_DATABASE_URL")


@pytest.fixture(scope="module")
def oldest() -> Iterator[Server]:
    """A database of its own on PostgreSQL 15."""
    yield from _server(os.environ.get("POSTGRES15_URL"), os.environ.get("POSTGRES15_SUPERUSER_URL"), "POSTGRES15_URL")


@pytest.fixture(params=["newest", "oldest"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def scratch_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the scratch databases this test makes; other workers' are none of its business."""
    names: list[str] = []
    make = scratch._scratch_name

    def remember(*args: object) -> str:
        names.append(make(*args))  # type: ignore[arg-type]
        return names[-1]

    monkeypatch.setattr(scratch, "_scratch_name", remember)
    return names
