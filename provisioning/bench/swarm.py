"""Many clients at once, in a process of their own that does nothing else: `python -m provisioning.bench.swarm`.

Reads one JSON document (host, port, key, slugs, log_in) and writes one: when it began (CLOCK_MONOTONIC, and as
POSIX time), its CPU seconds, and for each request its status, when it was answered and when the tenant's own login had
answered its first query (seconds from the beginning). Bare sockets, so that the client costs the server little.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

import psycopg

TIMEOUT_SECONDS = 120


def request(host: str, key: str, slug: str) -> bytes:
    """A POST of one tenant."""
    body = json.dumps({"name": slug, "slug": slug}).encode()
    head = (
        f"POST /api/v1/tenants HTTP/1.1\r\nHost: {host}\r\nAuthorization: Api-Key {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _post(job: dict[str, Any], slug: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(job["host"], job["port"])
    try:
        writer.write(request(job["host"], job["key"], slug))
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body
    finally:
        writer.close()


async def _log_in(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SELECT 1")


async def _client(job: dict[str, Any], slug: str, begun: float) -> dict[str, Any]:
    done: dict[str, Any] = {"slug": slug, "status": 0, "answered": None, "ready": None, "error": ""}
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            done["status"], body = await _post(job, slug)
            done["answered"] = time.monotonic() - begun
            if done["status"] == 201 and job["log_in"]:
                await _log_in(json.loads(body)["connection"]["dsn"])
                done["ready"] = time.monotonic() - begun
            elif done["status"] not in (201, 202):
                done["error"] = body.decode(errors="replace")[:300]
    except (OSError, psycopg.Error, ValueError, LookupError) as error:
        done["error"] = f"{type(error).__name__}: {error}"[:300]
    return done


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _all(job: dict[str, Any]) -> dict[str, Any]:
    cpu, begun, began_at = _cpu(), time.monotonic(), time.time()
    results = await asyncio.gather(*[_client(job, slug, begun) for slug in job["slugs"]])
    return {"begun": begun, "began_at": began_at, "cpu_s": round(_cpu() - cpu, 3), "requests": results}


if __name__ == "__main__":
    json.dump(asyncio.run(_all(json.load(sys.stdin))), sys.stdout)
