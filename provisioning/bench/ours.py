"""Our own ways to a tenant: the services, and one POST."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db.models import Model

from provisioning import pool, services
from provisioning.bench.samples import Row
from provisioning.models import SchemaSlot, TemplateVersion
from tenants import operations, rows
from tenants.actors import Actor, Source
from tenants.models import AuditEvent, Cluster, Tenant

ACTOR = Actor(kind="command", id="", label="bench_provisioning")
SOURCE = Source(channel="command", request_id="bench")
HTTP_TIMEOUT_SECONDS = 60


class BenchFailed(Exception):
    """What was to be measured did not happen."""


def new_slug(prefix: str = "bench") -> str:
    """A slug nobody has."""
    return f"{prefix}-{secrets.token_hex(6)}"


def fill(cluster: Cluster, version: TemplateVersion, count: int) -> None:
    """Have `count` warm slots ready; not measured."""
    ready = SchemaSlot.objects.filter(cluster=cluster, template_version=version, state=SchemaSlot.State.READY)
    while (missing := count - ready.count()) > 0:
        for _ in range(missing):
            if not pool.fill_one(cluster, version, count):
                raise BenchFailed("A slot could not be built.")


def cold(row: Row) -> None:
    """Provision as a worker does: the service writes the operation down, `work` carries it out, all in this process."""
    slug = new_slug()
    with row.timed():
        made = services.provision_tenant(name=slug, slug=slug, respond_async=True, actor=ACTOR, source=SOURCE)
        operations.work(made.operation.pk if made.operation else None)
    tenant = Tenant.objects.get(pk=made.tenant.pk)
    if tenant.state != Tenant.State.ACTIVE:
        raise BenchFailed(f"A cold start ended {tenant.state}: {tenant.state_reason}")
    for step in made.operation.steps.all() if made.operation else ():
        seconds = (step.ended_at - step.started_at).total_seconds() if step.ended_at else 0.0
        row.parts.setdefault(step.name, []).append(seconds)


def warm(row: Row) -> None:
    """Claim a ready slot by the service."""
    slug = new_slug()
    with row.timed():
        made = services.provision_tenant(name=slug, slug=slug, actor=ACTOR, source=SOURCE)
    if made.connection is None:
        raise BenchFailed("There was no warm slot.")


@contextmanager
def without_audit() -> Iterator[None]:
    """Nothing is written to the audit log meanwhile: what it costs is the difference. Only in this process."""
    real = rows.insert

    def insert(*made: Model) -> None:
        if kept := [row for row in made if not isinstance(row, AuditEvent)]:
            real(*kept)

    rows.insert = insert
    try:
        yield
    finally:
        rows.insert = real


class Client:
    """One machine caller with a kept-open connection to the web server."""

    def __init__(self, port: int, key: str) -> None:
        """Connects and asks for something cheap, so that what follows is measured on an open connection."""
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_SECONDS)
        self._headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}
        self._http.request("GET", "/api/v1/plans", headers=self._headers)
        self._http.getresponse().read()

    def post(self, slug: str) -> tuple[int, Any]:
        """Ask for a tenant; status and decoded body."""
        self._http.request("POST", "/api/v1/tenants", json.dumps({"name": slug, "slug": slug}), self._headers)
        answer = self._http.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        """Hang up."""
        self._http.close()


def post(row: Row, client: Client) -> None:
    """POST a tenant and log in as it: until its own login has answered a query."""
    begun = time.perf_counter()
    status, body = client.post(new_slug())
    answered = time.perf_counter() - begun
    if status != 201:
        raise BenchFailed(f"POST /tenants answered {status}: {body}")
    with psycopg.connect(body["connection"]["dsn"], autocommit=True) as connection:
        connection.execute("SELECT 1").fetchone()
        row.seconds.append(time.perf_counter() - begun)
    row.parts.setdefault("answer without the login", []).append(answered)
