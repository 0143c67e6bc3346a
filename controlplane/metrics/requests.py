"""django-prometheus' counts of requests, less those whose number of series somebody else could choose."""

from __future__ import annotations

from typing import Any

from django_prometheus.middleware import PrometheusAfterMiddleware, PrometheusBeforeMiddleware

# Of no use here: one character set, few templates, hardly any parameter of theirs.
UNUSED = {"templatename", "charset", "transport"}


class _Nothing:
    """Takes whatever a counter takes."""

    def inc(self, amount: float = 1) -> None:
        """Count nothing."""

    def observe(self, amount: float) -> None:
        """Observe nothing."""


class BeforeMiddleware(PrometheusBeforeMiddleware):
    """As it is."""


class AfterMiddleware(PrometheusAfterMiddleware):
    """A method is one of those that HTTP has: a caller could invent others, each a series."""

    def label_metric(self, metric: Any, request: Any, response: Any = None, **labels: Any) -> Any:
        """The series to count in."""
        if "view" in labels or not UNUSED & labels.keys():
            if "method" in labels:
                labels["method"] = self._method(request)
            return super().label_metric(metric, request, response, **labels)
        return _Nothing()
