"""Signs of life of the programs behind the web server, kept in Redis: who was last seen when.

A worker's main process marks that it lives, beat marks that it has sent something, and a task that beat sends marks
that a worker carried it out: a worker that lives and takes no work is told from one that is gone.
"""

from __future__ import annotations

import logging
import time
from enum import StrEnum

from django.core.cache import cache

log = logging.getLogger(__name__)
LATELY_SECONDS = 30.0
KEPT_SECONDS = 7 * 86_400


class Who(StrEnum):
    """Of whom there are signs of life."""

    WORKER = "worker"
    BEAT = "beat"
    TASKS = "tasks"  # what beat sends is carried out


def _key(who: Who) -> str:
    return f"controlplane:seen:{who}"


def note(who: Who) -> None:
    """Now. A Redis that is away costs the mark, nothing else."""
    try:
        cache.set(_key(who), time.time(), timeout=KEPT_SECONDS)
    except Exception as error:
        log.warning("seen.not_noted", extra={"who": str(who), "error": type(error).__name__})


def forget(who: Who) -> None:
    """As if it had never been seen."""
    cache.delete(_key(who))


def seconds(who: Who) -> float | None:
    """Since it was last seen; None when that was never, or a week ago. Raises what Redis raises."""
    at = cache.get(_key(who))
    return max(0.0, time.time() - at) if at is not None else None


def lately(who: Who) -> bool:
    """Within LATELY_SECONDS. Raises what Redis raises."""
    age = seconds(who)
    return age is not None and age < LATELY_SECONDS
