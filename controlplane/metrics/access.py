"""Who may read metrics: by token, or from a network that is named."""

from __future__ import annotations

import hmac
import ipaddress
import os
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest

from tenants.exceptions import PermissionRefused


def _token() -> str:
    if path := os.environ.get("METRICS_TOKEN_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    return os.environ.get("METRICS_TOKEN", "")


def check(request: HttpRequest) -> None:
    """Raises PermissionRefused, unless METRICS_TOKEN is sent as a bearer token or it comes from METRICS_NETWORKS.

    What a proxy has passed on has the proxy's address, and counts as coming from nowhere.
    """
    token = _token()
    given = request.META.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    if token and hmac.compare_digest(given.encode(), token.encode()):
        return
    proxied = "HTTP_X_FORWARDED_FOR" in request.META or "HTTP_FORWARDED" in request.META
    if proxied or not _is_near(request.META.get("REMOTE_ADDR", "")):
        raise PermissionRefused("Metrics are for METRICS_NETWORKS, or with METRICS_TOKEN.")


def _is_near(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in settings.METRICS_NETWORKS)
