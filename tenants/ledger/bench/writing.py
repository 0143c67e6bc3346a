"""Fifty writers at once: what the audit log costs them, and how far the sealer is behind."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from tenants import audit
from tenants.actors import Actor, Source
from tenants.ledger.bench.place import manage
from tenants.ledger.sealer import lag
from tenants.models import AuditSeal
from tenants.postgres import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
STOP_SECONDS = 15


def percentile(times: list[float], share: float) -> float:
    """The time that so large a share stays below, in ms."""
    return round(1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))], 2)


@dataclass
class Load:
    """A number of writers, each changing its own row for a while."""

    writers: int
    seconds: float
    audited: bool
    times: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """Let them write; the measurements."""
        start, end = threading.Barrier(self.writers + 1), threading.Event()
        threads = [threading.Thread(target=self._write, args=(n, start, end)) for n in range(1, self.writers + 1)]
        for thread in threads:
            thread.start()
        start.wait()
        begun = time.monotonic()
        time.sleep(self.seconds)
        end.set()
        for thread in threads:
            thread.join()
        if self.errors:
            raise RuntimeError(self.errors[0])
        seconds = time.monotonic() - begun
        return {
            "writers": self.writers,
            "changes": len(self.times),
            "per_second": round(len(self.times) / seconds),
            "median_ms": round(1000 * statistics.median(self.times), 2),
            "p95_ms": percentile(self.times, 0.95),
        }

    def _write(self, number: int, start: threading.Barrier, end: threading.Event) -> None:
        actor, source = Actor("api_key", str(number), f"writer {number}"), Source("rest", "10.0.0.1", f"bench-{number}")
        try:
            connection.ensure_connection()
            start.wait()
            while not end.is_set():
                begun = time.monotonic()
                with transaction.atomic():
                    with connection.cursor() as cursor:
                        cursor.execute(QUERIES["change"], {"id": number})
                    if self.audited:
                        change = {"value": number}
                        audit.record("bench.change", actor=actor, source=source, before=change, after=change)
                self.times.append(time.monotonic() - begun)
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            start.abort()
        finally:
            connection.close()


def measure(*, writers: int, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """The same changes without the log, with it, and with it while a sealer chains it."""
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["changed_rows"])
        cursor.execute(QUERIES["fill_changed_rows"], {"writers": writers})
    Load(writers, 1.0, audited=True).run()  # everything is warm
    found: dict[str, Any] = {
        "alone_without_log": Load(1, seconds / 2, audited=False).run(),
        "alone_with_log": Load(1, seconds / 2, audited=True).run(),
        "without_log": Load(writers, seconds, audited=False).run(),
        "with_log": Load(writers, seconds, audited=True).run(),
    }
    found["with_log_and_sealer"] = _with_sealer(Load(writers, seconds, audited=True).run, environment)
    return found


def _with_sealer(run: Callable[[], dict[str, Any]], environment: dict[str, str]) -> dict[str, Any]:
    sealer = manage("seal_audit_log", "--follow", environment=environment)
    behind: list[float] = []
    end = threading.Event()

    def watch() -> None:
        while not end.wait(0.5):
            _, oldest = lag()
            behind.append(time.time() - oldest.timestamp() if oldest else 0.0)
        connection.close()

    try:
        while lag()[0]:  # it has started, and sealed what was before
            time.sleep(0.1)
        before, watcher = AuditSeal.objects.count(), threading.Thread(target=watch)
        watcher.start()
        found = run()
        end.set()
        watcher.join()
        while lag()[0]:
            time.sleep(0.1)
        sealed = AuditSeal.objects.count() - before
    finally:
        sealer.terminate()
        sealer.wait(STOP_SECONDS)
    return {**found, "sealed": sealed, "unsealed_for_at_most_s": round(max(behind, default=0.0), 2)}
