"""A long log: sealing it, verifying it, and turning the pages of the review screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse

from tenants.groups import AUDITOR, ensure_groups
from tenants.ledger.bench.writing import percentile
from tenants.ledger.sealer import seal_pending
from tenants.ledger.verification import verify
from tenants.models import AuditEvent
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
CHUNK = 100_000
LIST = "admin:tenants_auditevent_changelist"


def fill(first: int, last: int, of: int) -> float:
    """Make events number `first` to `last` of `of`; seconds it took."""
    begun = time.monotonic()
    with connection.cursor() as cursor:
        for start in range(first, last + 1, CHUNK):
            cursor.execute(QUERIES["fill"], {"first": start, "last": min(start + CHUNK - 1, last), "of": of})
    return time.monotonic() - begun


def settle() -> None:
    """As autovacuum leaves the table."""
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["settle"])


def seal_and_verify(tell: Callable[[str], None]) -> dict[str, Any]:
    """Seal everything that waits, then verify all of it, each with its rate."""
    begun = time.monotonic()
    sealed = seal_pending() or 0
    seconds = time.monotonic() - begun
    tell(f"sealed {sealed:,} in {seconds:.1f} s")
    result = verify()
    if not result.ok:
        raise RuntimeError(str(result.first_bad))
    return {
        "sealed": sealed,
        "sealed_per_second": round(sealed / seconds),
        "verified": result.events,
        "verified_per_second": round(result.events / result.seconds),
    }


def pages(turns: int) -> dict[str, Any]:
    """Times of whole pages of the review screen, as an auditor's browser would wait for them, by filter."""
    host = next((name for name in settings.ALLOWED_HOSTS if name not in ("*", "")), "127.0.0.1").lstrip(".")
    client = Client(headers={"host": host}, raise_request_exception=True)
    user = get_user_model().objects.create_user("bench", is_staff=True)
    user.groups.add(ensure_groups()[AUDITOR])
    client.force_login(user)
    _turn(client, {})  # templates are compiled
    found: dict[str, Any] = {}
    every: list[float] = []
    for name, query in _queries().items():
        times = [_turn(client, query) for _ in range(turns)]
        every += times
        found[name] = {"median_ms": percentile(times, 0.5), "max_ms": percentile(times, 1.0)}
    return {"p95_ms": percentile(every, 0.95), "pages": len(every), "by_filter": found}


def _turn(client: Client, query: dict[str, str]) -> float:
    begun = time.monotonic()
    response = client.get(reverse(LIST), query, secure=settings.SECURE_SSL_REDIRECT)
    shown = getattr(response, "context_data", None) or {}
    if shown.get("found") is None:
        raise RuntimeError(f"{query}: {response.status_code} {shown.get('problem', '')}")
    return time.monotonic() - begun


def _queries() -> dict[str, dict[str, str]]:
    ends = AuditEvent.objects.filter(action="tenant.suspend")
    middle = ends.order_by("at")[ends.count() // 2]
    day = middle.at.strftime("%Y-%m-%dT%H:%M")
    month = f"{middle.at:%Y-%m}-01T00:00"
    cursor = f"o_{middle.pk}_{middle.at.isoformat()}"
    return {
        "nothing": {},
        "page in the middle": {"cursor": cursor},
        "busy actor": {"actor": "actor 0"},
        "actor by id": {"actor": "user:0"},
        "another actor": {"actor": "actor 36"},
        "action": {"action": "tenant.suspend"},
        "area": {"action": "tenant."},
        "tenant": {"tenant": str(middle.tenant_id)},
        "refused": {"outcome": "denied"},
        "channel": {"channel": "command"},
        "request": {"request_id": middle.request_id},
        "target": {"target": middle.target_id},
        "before a day long ago": {"until": day},
        "a month": {"since": month, "until": day},
        "action, long ago": {"action": "plan.update", "until": day},
        "actor, action, outcome": {"actor": "actor 0", "action": "access.denied", "outcome": "denied"},
        "tenant, channel, long ago": {"tenant": str(middle.tenant_id), "channel": "admin", "until": day},
        "nobody": {"actor": "nobody"},
    }
