"""A registry of one's own for each test that tampers: what it does to the log must not be others' finding."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.databases import drop_database, maintenance
from tests.support.environment import DATABASE, PREFIX, TEMPLATE


class Registry:
    """A control plane's database of this test's own, which Django's connection is on while the test runs."""

    def __init__(self, name: str, place: Path) -> None:
        self.name, self.place = name, place
        self.checkpoints = place / "checkpoints.jsonl"
        self.url = os.environ["DATABASE_URL"].replace(f"/{DATABASE}", f"/{name}")
        self.superuser_url = self._superuser_url()

    def _superuser_url(self) -> str:
        from urllib.parse import urlsplit

        parts = urlsplit(os.environ["SUPERUSER_DATABASE_URL"])
        return parts._replace(path=f"/{self.name}").geturl()

    def tamper(self, *statements: str, triggers: bool = True) -> None:
        """Act as somebody who owns the server; with `triggers` as one who puts them back afterwards."""
        tables = ("tenants_auditevent", "tenants_auditseal", "tenants_auditcheckpoint")
        with psycopg.connect(self.superuser_url) as session:
            for table in tables:
                session.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            for statement in statements:
                session.execute(statement)
            for table in tables if triggers else ():
                session.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER audit_no_change")
                session.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER audit_no_truncate")

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement as the control plane's own login."""
        with psycopg.connect(self.url, autocommit=True) as session:
            done = session.execute(statement, values)
            return done.fetchall() if done.description else []


def write_events(count: int, action: str = "tests.act", **fields: Any) -> list[Any]:
    """Events through the one way in."""
    from tenants import audit
    from tenants.models import AuditEvent
    from tests.support.fixtures import ACTOR, SOURCE

    fields = {"before": {"n": 1, "text": "Zoë “quoted”"}, "after": {"n": 2.50, "none": None}} | fields
    for number in range(count):
        audit.record(action, actor=ACTOR, source=SOURCE, reason=f"event {number}", **fields)
    return list(AuditEvent.objects.order_by("-id")[:count])[::-1]


def new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def registry(_database_for_all: None, tmp_path: Path, settings: Any) -> Iterator[Registry]:
    """An empty log, with a key and a file outside for its checkpoints."""
    from django.db import connection

    name = f"{PREFIX}_audit_{secrets.token_hex(4)}"
    with maintenance() as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        )
    own = Registry(name, tmp_path)
    settings.AUDIT_SIGNING_KEY = new_key()
    settings.AUDIT_CHECKPOINT_URLS = [f"file://{own.checkpoints}"]
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    yield own
    connection.close()
    connection.settings_dict["NAME"] = before
    drop_database(name)


@pytest.fixture
def sealed(registry: Registry) -> Registry:
    """Thirty events in three batches, each sealed and signed."""
    from tenants.ledger import checkpoints, sealer

    for _ in range(3):
        write_events(10)
        assert sealer.seal_pending() == 10
        taken, undelivered = checkpoints.checkpoint()
        assert taken is not None
        assert undelivered == {}
    return registry
