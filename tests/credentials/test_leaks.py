"""After a whole life through the doors, no password and no verifier lies anywhere but where it belongs."""

from __future__ import annotations

import json
import os
import secrets as random
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
import redis
from django.conf import settings
from django.utils import timezone

from tenants.models import AuditEvent, IdempotencyRecord, Operation, OperationStep
from tests.credentials import places
from tests.provisioning.support import warm
from tests.support.api import ApiClient
from tests.support.fixtures import fresh_slug
from tests.support.processes import Running, celery_worker, gunicorn, wait_for

pytestmark = pytest.mark.skipif("SUPERUSER_DATABASE_URL" not in os.environ, reason="no server of our own to look into")


@dataclass
class Life:
    """A web server and a worker, who is asked, and what came back."""

    web: Running
    worker: Running
    wire: places.Wire
    key: str
    problems: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, *, status: int, key: str = "") -> Any:
        """The answer's body; errors are kept to be searched."""
        request = urllib.request.Request(
            f"{self.web.url}/api/v1/{path}", None if body is None else json.dumps(body).encode(), method=method
        )
        request.add_header("Authorization", f"Api-Key {self.key}")
        request.add_header("Content-Type", "application/json")
        if key:
            request.add_header("Idempotency-Key", key)
        if status == 202:
            request.add_header("Prefer", "respond-async")  # other tests may have left a warm slot
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                found, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            found, text = error.code, error.read().decode()
            self.problems.append(text + str(error.headers))
        assert found == status, text
        return json.loads(text)

    def done(self, operation: str) -> dict[str, Any]:
        """The operation when it is no longer open."""
        last: dict[str, Any] = {}

        def ended() -> bool:
            last.update(self.ask("GET", f"operations/{operation}", status=200))
            return last["state"] not in ("pending", "running")

        wait_for(ended, seconds=60, what="the operation's end", running=self.worker)
        assert last["state"] == "succeeded", last
        return last

    def texts(self) -> dict[str, places.Read]:
        """All there is to search, but for the tables."""
        return {
            "web's log": lambda: self.web.log,
            "worker's and beat's log": lambda: self.worker.log,
            "PostgreSQL's log": places.server_log,
            "statements": places.statements,
            "Redis": places.redis_text,
            "messages": self.wire.text,
            "problems": lambda: "\n".join(self.problems),
        }


@pytest.fixture(scope="module")
def life(cluster: Any, plan: Any, template: Any) -> Iterator[Life]:
    """Real processes, as talkative as they can be."""
    key = ApiClient.with_scopes().key
    wire = places.Wire()
    wire.start()
    with gunicorn(LOG_LEVEL="DEBUG") as web, celery_worker(beat=True) as worker:
        yield Life(web, worker, wire, key)
    wire.stop()


def whole_life(life: Life, cluster: Any, template: Any) -> set[str]:
    """Create (warm, and by a worker), rotate, reveal, lend, suspend, resume, fail, purge. What is secret of it."""
    secret: set[str] = {life.key}

    def keep(connection: dict[str, Any], schema: str) -> None:
        psycopg.connect(connection["dsn"], connect_timeout=5).close()
        secret.add(connection["password"])
        secret.update(places.verifiers(schema))

    warm(cluster, template)
    body = {"name": "Acme", "slug": fresh_slug(), "template": "tiny"}
    once = random.token_hex(8)
    made = life.ask("POST", "tenants", body, status=201, key=once)
    assert life.ask("POST", "tenants", body, status=201, key=once) == made, "replayed, so it is kept"
    path, schema = f"tenants/{made['id']}", made["schema_name"]
    keep(made["connection"], schema)
    request = {"overlap_minutes": 10, "reason": "x"}
    rotated = life.ask("POST", f"{path}/rotate-credentials", request, status=200, key=random.token_hex(8))
    keep(rotated["connection"], schema)
    life.ask("POST", f"{path}/rotate-credentials", status=409)
    emergency = {"emergency": True, "reason": "leaked"}
    keep(life.ask("POST", f"{path}/rotate-credentials", emergency, status=200)["connection"], schema)
    keep(life.ask("POST", f"{path}/reveal-credentials", {"reason": "x"}, status=200), schema)
    lent = {"owner": "Ada", "reason": "x", "minutes": 5}
    for access in ("read_only", "read_write"):
        issued = life.ask(
            "POST", f"{path}/credentials", {**lent, "access": access}, status=201, key=random.token_hex(8)
        )
        keep(issued["connection"], schema)
    life.ask("DELETE", f"{path}/credentials/{issued['id']}", status=200)
    # What somebody sends to the wrong place is not said again.
    for wrong in ({"password": made["connection"]["password"]}, {"reason": [issued["connection"]["password"]]}):
        life.ask("POST", f"{path}/suspend", wrong, status=400)
    wrong_password = random.token_hex(12)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(made["connection"]["dsn"], password=wrong_password, connect_timeout=5)
    secret.add(wrong_password)
    life.ask("POST", f"{path}/suspend", {"reason": "x"}, status=200)
    life.ask("POST", f"{path}/resume", {"reason": "x"}, status=200)
    life.ask("GET", f"{path}/credentials", status=200)
    life.ask("POST", f"{path}/purge", {"confirm_slug": body["slug"], "reason": "x", "force": True}, status=202)
    cold = life.ask("POST", "tenants", {**body, "slug": fresh_slug(), "template": "tiny"}, status=202)
    done = life.done(cold["id"])
    collected = life.ask("POST", f"operations/{cold['id']}/credentials", status=200)
    keep(collected, life.ask("GET", f"tenants/{done['tenant']}", status=200)["schema_name"])
    life.ask("POST", f"operations/{cold['id']}/credentials", status=410)
    wait_for(lambda: life.ask("GET", path, status=200)["state"] == "purged", seconds=60, what="the purge")
    return secret


def test_nothing_secret_lies_about(life: Life, cluster: Any, template: Any) -> None:
    secret = whole_life(life, cluster, template)
    assert len(secret) >= 16
    assert {place for place, _ in places.found_in(life.texts(), secret)} == set()
    assert len(life.problems) >= 4
    for text in (life.web.log, life.worker.log, life.wire.text(), places.statements()):
        assert len(text) > 1000, "it was not the wrong place that was searched"


def test_the_search_finds_what_lies_there(life: Life, template: Any, cluster: Any) -> None:
    """The control: a secret that is put into each of the places is found in each of them."""
    canary = random.token_hex(12)
    slug = fresh_slug()
    warm(cluster, template)
    made = life.ask("POST", "tenants", {"name": "Acme", "slug": slug, "template": "tiny"}, status=201)
    life.ask("GET", f"{canary}", status=404)  # the web server's log, a problem
    from controlplane.celery import app

    app.send_task("tenants.dispatch_operations", kwargs={"no_such": canary})  # a message, the worker's log
    redis.Redis.from_url(settings.REDIS_URL).set(f"test:{canary}", canary, ex=60)
    with places.superuser() as session:
        session.execute(f"COMMENT ON ROLE cp_tenants IS '{canary}'")
        session.execute("COMMENT ON ROLE cp_tenants IS NULL")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            session.execute(f'SELECT "{canary}"')
    operation = Operation.objects.filter(tenant=made["id"]).latest("created_at")
    Operation.objects.filter(pk=operation.pk).update(result={"deep": [{"password": canary}]})
    step = OperationStep.objects.create(operation=operation, name="x", ended_at=timezone.now(), error=canary)
    AuditEvent.objects.create(
        action="test", actor_kind="command", actor_label="tests", channel="command", after={"password": canary}
    )
    record = IdempotencyRecord.objects.create(caller="tests", key=canary, request_digest="x")
    wait_for(lambda: canary in life.worker.log, what="the worker's complaint", running=life.worker)
    found = {place for place, _ in places.found_in(life.texts(), [canary])}
    step.delete()
    record.delete()
    Operation.objects.filter(pk=operation.pk).update(result={})
    tables = ("tenants_operation", "tenants_operationstep", "tenants_auditevent", "tenants_idempotencyrecord")
    assert found >= set(life.texts()) | {f"table {table}" for table in tables}
