"""Who acts, and through which door: handed down to every service and written into operations and audit events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """Who does something: `kind` is `user`, `api_key`, `command` or `system`."""

    kind: str
    id: str
    label: str


@dataclass(frozen=True)
class Source:
    """Where a request came in: `channel` is `admin`, `rest`, `command`, `beat`, `worker` or `reaper`."""

    channel: str
    ip: str | None = None
    request_id: str = ""


SYSTEM = Actor(kind="system", id="", label="control plane")
BEAT = Source(channel="beat")
WORKER = Source(channel="worker")
