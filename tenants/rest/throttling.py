"""So many requests a minute for each caller: one counter in Redis for each window.

When Redis is away nothing is throttled: a limit that is not kept for a minute does less harm than a service that
refuses everybody.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from tenants.rest.context import actor_of, client_ip

log = logging.getLogger(__name__)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_rate(rate: str) -> tuple[int, int]:
    """`"100/min"` as (100, 60)."""
    number, _, period = rate.partition("/")
    return int(number), SECONDS[period[0]]


def count(key: str, seconds: int) -> int:
    """How often this was called for `key` within the present window, this time included; 0 when Redis is away."""
    name = f"count:{key}:{int(time.time()) // seconds}"
    try:
        # The backend's own incr() asks twice more; this is one round trip, and two for the first of a window.
        redis = cache._cache.get_client(name, write=True)  # type: ignore[attr-defined]
        number = int(redis.incr(name))
        if number == 1:
            redis.expire(name, seconds + 1)
        return number
    except Exception as error:
        log.warning("throttle.unavailable", extra={"error": type(error).__name__})
        return 0


def wait(scope: str, who: str) -> float | None:
    """Seconds until `who` may ask again under the rate named `scope`, or None when it may now."""
    limit, seconds = parse_rate(str(api_settings.DEFAULT_THROTTLE_RATES[scope]))
    if count(f"{scope}:{who}", seconds) <= limit:
        return None
    return seconds - time.time() % seconds


class CallerThrottle(BaseThrottle):
    """Counts a known caller's requests. Unknown ones are counted where they are refused (see views.ApiView)."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the caller is within its rate."""
        if request.user is not None:
            actor = actor_of(request)
            self.seconds = wait("caller", f"{actor.kind}:{actor.id}")
        return self.seconds is None

    def wait(self) -> float | None:
        """Seconds for Retry-After."""
        return self.seconds


def anonymous_wait(request: Any) -> float | None:
    """Seconds until this address may fail to authenticate again, or None when it may now."""
    return wait("anonymous", client_ip(request) or "unknown")
