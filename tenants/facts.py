"""Figures that only one app knows and all may want to watch: how old a tenant's backup is, how full a pool.

Who knows a figure registers a function for it when it is loaded; monitoring, which may import none of them, asks here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tenants.exceptions import ControlPlaneError


@dataclass(frozen=True)
class Fact:
    """What a figure is now, of a tenant, of a cluster, or (without either) of the whole fleet."""

    value: float
    tenant: uuid.UUID | None = None
    cluster: int | None = None


# Each by a constant number of queries, however many tenants there are.
Source = Callable[[], Iterable[Fact]]
_sources: dict[str, Source] = {}


def register(metric: str, source: Source) -> None:
    """Make known who knows `metric` (see monitoring.catalogue). Apps do this when they are loaded."""
    _sources[metric] = source


def collect(metric: str) -> list[Fact]:
    """What `metric` is now, wherever it is. Raises ControlPlaneError when nobody knows it.

    What a source does not name there is nothing to tell of: an alert about it is over. A source that cannot tell
    raises.
    """
    try:
        source = _sources[metric]
    except KeyError as error:
        raise ControlPlaneError(f"Nobody tells of {metric}.") from error
    return list(source())


def known() -> frozenset[str]:
    """The metrics that somebody tells of."""
    return frozenset(_sources)
