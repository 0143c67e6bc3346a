"""A registry for the length of a benchmark: a database beside the control plane's own, of which nothing stays."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql

from tenants.exceptions import ControlPlaneError
from tenants.postgres import Dsn, connect

PREFIX = "cpbench_audit_"


def own_dsn() -> Dsn:
    """The control plane's own database."""
    own = connection.settings_dict
    return Dsn(own["HOST"] or "localhost", int(own["PORT"] or 5432), own["NAME"], own["USER"], own["PASSWORD"] or "")


@contextmanager
def registry(prefix: str = PREFIX) -> Iterator[dict[str, str]]:
    """Django's connections of this process are on an empty, migrated database; yields the environment that names it."""
    dsn, name = own_dsn(), prefix + secrets.token_hex(6)
    with connect(dsn, autocommit=True, statement_timeout_ms=600_000) as held:
        held.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            url = f"postgres://{quote(dsn.user, safe='')}:{quote(dsn.password, safe='')}@{dsn.host}:{dsn.port}/{name}"
            environment = {**os.environ, "DATABASE_URL": url, "AUDIT_CHECKPOINT_URLS": ""}
            environment.pop("DATABASE_URL_FILE", None)
            if manage("migrate_schemas", "--shared", "--verbosity", "0", environment=environment).wait():
                raise ControlPlaneError("The benchmark's database could not be migrated.", code="bench_failed")
            with _moved(name):
                yield environment
        finally:
            _drop(held, name)


def _drop(held: psycopg.Connection[Any], name: str) -> None:
    """What is a superuser's (autovacuum) we may not end: without FORCE the server ends that itself."""
    for force in (True, False) * 10:
        how = sql.SQL(" WITH (FORCE)" if force else "")
        try:
            held.execute(sql.SQL("DROP DATABASE IF EXISTS {}{}").format(sql.Identifier(name), how))
            return
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
            time.sleep(0.5)
    raise ControlPlaneError(f"The benchmark's database {name} could not be dropped.", code="bench_failed")


@contextmanager
def _moved(name: str) -> Iterator[None]:
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name  # the same mapping for the connections of all threads
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def manage(*arguments: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A command of ours in a process of its own, in that environment."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=sys.__stderr__,
    )
