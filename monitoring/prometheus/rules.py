"""The shipped rules in Prometheus' words: one alert each, `metric comparison threshold` for so long.

What differs from our own evaluation: Prometheus knows no second threshold for the end of an alert (hysteresis), and
there an alert ends when there are no figures any more, while ours keeps its state. The files have the rules as they
are shipped; what operators edit stays in the control plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from monitoring.alerts import text
from monitoring.alerts.shipped import SHIPPED, ShippedRule
from monitoring.catalogue import METRICS, Scope, Unit

# The labels of a series, by what it is of.
LABELS: dict[Scope, tuple[str, ...]] = {
    Scope.FLEET: (),
    Scope.CLUSTER: ("cluster",),
    Scope.TENANT: ("tenant", "cluster", "plan"),
}
_SHOWN = {
    Unit.RATIO: "{{ $value | humanizePercentage }}",
    Unit.SECONDS: "{{ $value | humanizeDuration }}",
    Unit.BYTES: "{{ $value | humanize1024 }}B",
}
_SUBJECT = {Scope.FLEET: "the fleet", Scope.CLUSTER: "{{ $labels.cluster }}", Scope.TENANT: "{{ $labels.tenant }}"}
PAGES_AT = "http://127.0.0.1:8000/admin/runbooks"


@dataclass(frozen=True)
class PrometheusRule:
    """One alert. Times in seconds; `page` is the runbook's slug."""

    slug: str
    expression: str
    severity: str
    summary: str
    description: str
    page: str
    group: str
    for_seconds: int = 0
    keep_firing_seconds: int = 0

    @property
    def alert(self) -> str:
        """Its name there: `CrossTenantAttempt`."""
        return "".join(word.capitalize() for word in self.slug.split("-"))

    def document(self, pages_at: str) -> dict[str, Any]:
        """As it stands in the file."""
        held = {"for": duration(self.for_seconds)} if self.for_seconds else {}
        kept = {"keep_firing_for": duration(self.keep_firing_seconds)} if self.keep_firing_seconds else {}
        annotations = {"summary": self.summary, "description": self.description}
        return {
            "alert": self.alert,
            "expr": self.expression,
            **held,
            **kept,
            "labels": {"severity": self.severity, "rule": self.slug, "runbook": self.page},
            "annotations": {name: said for name, said in annotations.items() if said}
            | {"runbook_url": f"{pages_at.rstrip('/')}/{self.page}"},
        }


# What the control plane cannot tell of itself.
UNREACHABLE = PrometheusRule(
    slug="control-plane-unreachable",
    expression='up{job="controlplane"} == 0 or controlplane_readings_ok == 0',
    severity="critical",
    summary="The control plane at {{ $labels.instance }} does not answer, or cannot read its own database",
    description="Nothing else is known while this lasts: all other rules are blind.",
    page="control-plane-unreachable",
    group="controlplane",
    for_seconds=120,
)


def duration(seconds: int) -> str:
    """`90` as `1m30s`."""
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def number(value: float) -> str:
    """Without an exponent, as people write it."""
    return f"{value:.10f}".rstrip("0").rstrip(".")


def all_rules() -> Iterator[PrometheusRule]:
    """Every rule of the file."""
    yield UNREACHABLE
    yield from map(translated, SHIPPED)


def translated(rule: ShippedRule) -> PrometheusRule:
    """A shipped rule. Raises KeyError when its metric is not in the catalogue."""
    scope, _, name = rule.metric.partition(".")
    metric = METRICS[Scope(scope), name]
    made = PrometheusRule(
        slug=rule.slug,
        expression=f"{metric.prometheus} {rule.comparison} {number(rule.threshold)}",
        severity=rule.severity,
        summary=rule.summary,
        description=rule.description,
        page=rule.page,
        group=f"controlplane-{scope}",
        for_seconds=rule.for_seconds,
        keep_firing_seconds=rule.keep_firing_seconds,
    )
    values = {
        "value": _SHOWN.get(metric.unit, "{{ $value | humanize }}"),
        "threshold": text.figure(rule.threshold, metric.unit),
        "subject": _SUBJECT[metric.scope],
        "tenant": "{{ $labels.tenant }}" if metric.scope is Scope.TENANT else "",
        "cluster": "{{ $labels.cluster }}" if metric.scope is not Scope.FLEET else "",
        "rule": rule.name,
        "severity": rule.severity,
        "for": text.figure(rule.for_seconds, Unit.SECONDS),
    }
    return replace(
        made, summary=text.render(rule.summary, values), description=text.render(rule.description, values)
    )  # fmt: skip


def rules_file(pages_at: str = PAGES_AT) -> dict[str, Any]:
    """rules.yml: a group for each scope."""
    groups: dict[str, list[Any]] = {}
    for rule in all_rules():
        groups.setdefault(rule.group, []).append(rule.document(pages_at))
    return {"groups": [{"name": name, "rules": rules} for name, rules in groups.items()]}
