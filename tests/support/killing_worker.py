"""A real Celery worker that dies by SIGKILL at an agreed point of an operation's first attempt.

`python -m tests.support.killing_worker <celery worker options>`. Tests agree on the point through the cache, so
that one worker serves many of them. Nothing of this is known to the product.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def die_at(operation: Any, point: str) -> None:
    """Have the worker that first reaches `point` of this operation killed."""
    from django.core.cache import cache

    cache.set(f"die:{operation.pk}", point, timeout=600)


def _reach(run: Any, point: str) -> None:
    from django.core.cache import cache

    if cache.get(f"die:{run.operation.pk}") == point:
        cache.set(f"died:{run.operation.pk}", point, timeout=600)
        cache.delete(f"die:{run.operation.pk}")
        os.kill(os.getpid(), signal.SIGKILL)


def _install() -> None:
    from tenants.operations import Run

    begin, step, finish = Run._begin_step, Run.step, Run.finish

    def begin_step(self: Any, name: str) -> None:
        _reach(self, f"{name}: before")
        begin(self, name)
        _reach(self, f"{name}: begun")

    @contextmanager
    def stepping(self: Any, name: str) -> Iterator[bool]:
        with step(self, name) as needed:
            yield needed
            if needed:  # done, and not written down: that comes with the next step
                _reach(self, f"{name}: worked")

    @contextmanager
    def finishing(self: Any, **result: Any) -> Iterator[None]:
        with finish(self, **result):
            yield
            _reach(self, "finish: uncommitted")
        _reach(self, "finish: committed")

    Run._begin_step, Run.step, Run.finish = begin_step, stepping, finishing  # type: ignore[method-assign]


def _sweep_operations_only(app: Any) -> None:
    """When beat starts it has everything looked at: what other tests have left would keep the worker from what is
    tried here, and so would messages that are still in the queue."""
    app.conf.beat_scheduler = "celery.beat:Scheduler"  # the database's has a row for each task there is
    looks = ("check-", "look-", "probe-", "sweep-", "verify-", "watch-")
    app.conf.beat_schedule = {
        name: entry for name, entry in app.conf.beat_schedule.items() if not name.startswith(looks)
    }
    app.control.purge()


if __name__ == "__main__":
    from controlplane.celery import app

    app.loader.import_default_modules()
    _install()
    _sweep_operations_only(app)
    app.worker_main(["worker", *sys.argv[1:]])
