"""How our own probes are told from attempts: a name of the session that nobody else can make for that session."""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings


def probe_name(login: str, pid: int) -> str:
    """The application_name of a probe by this login in the session of this process of the server.

    Whoever reads it (the tenant itself may) has no use for it: their own sessions have other numbers.
    """
    key = hashlib.sha256(f"isolation probe {settings.SECRET_KEY}".encode()).digest()
    return "cp-probe " + hmac.new(key, f"{login} {pid}".encode(), hashlib.sha256).hexdigest()[:32]


def is_probe(application: str, login: str, pid: int) -> bool:
    """Whether a session of that name is one of our probes."""
    return hmac.compare_digest(application, probe_name(login, pid))


def marker(login: str) -> str:
    """The key in the cache that is there for some seconds when a probe of this login begins: a connection that is
    refused has no name yet."""
    return f"isolation-probe:{login}"
