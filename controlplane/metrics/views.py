"""The pages that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Metric, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from controlplane.metrics import access, files, readings, tenants
from tenants.exceptions import InvalidInput

PARTS = ("all", "processes", "readings")


class _These(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """What was given."""
        yield from self._families


def _page(families: Iterable[Metric]) -> HttpResponse:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_These(families))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _counted() -> list[Metric]:
    return files.collected() if files.directory() else list(REGISTRY.collect())


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """What the processes of this host have counted, and the newest readings of fleet and clusters.

    Where several hosts are asked, one gives all and the others `?part=processes`. Raises PermissionRefused and
    InvalidInput.
    """
    access.check(request)
    part = request.GET.get("part", "all")
    if part not in PARTS:
        raise InvalidInput(f"part is one of {', '.join(PARTS)}.", field="part")
    counted = _counted() if part != "readings" else []
    return _page([*counted, *(readings.gauges() if part != "processes" else [])])


@require_safe
def metrics_of_tenants(request: HttpRequest) -> HttpResponse:
    """A handful of gauges for every tenant. Raises PermissionRefused and InvalidInput."""
    access.check(request)
    which = tenants.wanted(request.GET.get("top"), request.GET.get("by"))
    return HttpResponse(tenants.page(which), content_type=CONTENT_TYPE_LATEST)
