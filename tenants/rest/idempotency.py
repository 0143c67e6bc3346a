"""`Idempotency-Key`: a POST that is sent again is answered again, not done again.

::

    no record ──► in flight (status is null) ──► answered
                       │  ▲
                       └──┘ taken over after 60 s: whoever began it died

A record is claimed by inserting it, so of many equal requests exactly one does the work. Answers are kept encrypted
(they can hold a password) for 24 hours; those of 5xx are not kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import secrets
from tenants.exceptions import Conflict, ControlPlaneError, InvalidInput
from tenants.models import IdempotencyRecord
from tenants.rest.context import actor_of, request_id

HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x20-\x7e]{1,128}\Z")
ABANDONED = timedelta(seconds=60)
KEPT_HEADERS = ("Location", "Operation", "ETag", "Preference-Applied", "Cache-Control", "Retry-After")

Respond = Callable[[], Response]
Recover = Callable[[tuple[str, ...]], Response | None]


@dataclass(frozen=True)
class Claim:
    """A record that is ours to answer. `earlier` are the requests that claimed it before and died, if any did."""

    record: IdempotencyRecord
    earlier: tuple[str, ...] = ()


def key_of(request: Request) -> str | None:
    """The request's key, or None. Raises InvalidInput when it cannot be one."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not KEY.match(key) or not key.strip():
        raise InvalidInput(f"{HEADER} has 1 to 128 printable ASCII characters.", code="malformed_header", field=HEADER)
    return key


def digest(request: Request) -> str:
    """What must be equal for two requests to be the same: method, path, query and body (in any order of keys)."""
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    text = f"{request.method}\n{request.get_full_path()}\n{body}"
    return hashlib.sha256(text.encode()).hexdigest()


def run(request: Request, key: str, respond: Respond, recover: Recover) -> Response:
    """Answer with `respond()`, or with what it answered to this key before.

    `respond` must return errors as responses. When an earlier request died in between, `recover` is asked first
    whether that one's work can be answered for. Raises Conflict while another request is at it, and ControlPlaneError
    (422) when the key was used for something else.
    """
    actor = actor_of(request)
    claim = _claim(f"{actor.kind}:{actor.id}", key, digest(request), request_id(request))
    if isinstance(claim, Response):
        return claim
    response = None
    try:
        response = (recover(claim.earlier) if claim.earlier else None) or respond()
    finally:
        _keep(claim.record, response)
    return response


def _claim(caller: str, key: str, request_digest: str, asking: str) -> Claim | Response:
    record = IdempotencyRecord(caller=caller, key=key, request_digest=request_digest, response=asking)
    try:
        with transaction.atomic():
            record.save(force_insert=True)
        return Claim(record)
    except IntegrityError:
        found = IdempotencyRecord.objects.filter(caller=caller, key=key).first()
    if found is None:  # its answer was a 5xx and has just been forgotten
        raise _in_flight()
    if found.request_digest != request_digest:
        raise ControlPlaneError(
            f"This {HEADER} was used for another request.",
            code="idempotency_key_reused",
            status=422,
            hint="Use a new key for each request that is meant to do something new.",
        )
    if found.status is not None:
        return _replay(found)
    return _take_over(found, asking)


def _in_flight() -> Conflict:
    return Conflict(f"A request with this {HEADER} is being carried out.", code="idempotency_in_flight", retry_after=1)


def _take_over(found: IdempotencyRecord, asking: str) -> Claim:
    now = timezone.now()
    if found.created_at > now - ABANDONED:
        raise _in_flight()
    mine = IdempotencyRecord.objects.filter(pk=found.pk, status=None, created_at=found.created_at)
    # While it is in flight, `response` lists the requests that were at it: should we die too, the next one
    # looks for the work of all.
    if not mine.update(created_at=now, response=f"{found.response} {asking}".strip()):
        raise _in_flight()
    found.created_at = now
    return Claim(found, tuple(found.response.split()))


def _keep(record: IdempotencyRecord, response: Response | None) -> None:
    mine = IdempotencyRecord.objects.filter(pk=record.pk, status=None, created_at=record.created_at)
    if response is None or response.status_code >= 500:
        mine.delete()
        return
    answer = {
        "data": response.data,
        "content_type": response.content_type,
        "headers": {name: response[name] for name in KEPT_HEADERS if name in response},
    }
    text = secrets.encrypt(orjson.dumps(answer, option=orjson.OPT_UTC_Z).decode())
    mine.update(status=response.status_code, response=text)


def _replay(record: IdempotencyRecord) -> Response:
    answer: dict[str, Any] = orjson.loads(secrets.decrypt(record.response))
    headers = {**answer["headers"], "Idempotency-Replayed": "true"}
    return Response(answer["data"], status=record.status, headers=headers, content_type=answer["content_type"])
