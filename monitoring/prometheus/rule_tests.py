"""rules.test.yml, for `promtool test rules`: each rule fires when its time has come, with these texts, and not before;
is over afterwards; and does not fire for a figure that is just allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from monitoring.alerts.shipped import SHIPPED, ShippedRule
from monitoring.catalogue import METRICS, Metric, Scope, Unit
from monitoring.prometheus.rules import LABELS, UNREACHABLE, PrometheusRule, duration, translated

STEP = 15  # seconds between two samples, and two evaluations
QUIET = 4  # samples before it begins
LASTS = 8  # samples that it goes on after it fires
SUBJECT = {"tenant": "shop", "cluster": "eu-1", "plan": "standard"}


@dataclass(frozen=True)
class Case:
    """A rule, its series, and three figures: one that is well, one that is just allowed, one that is not."""

    rule: PrometheusRule
    series: str
    labels: dict[str, str]
    well: float
    allowed: float
    beyond: float
    shown: str = ""


def cases_file(pages_at: str) -> dict[str, Any]:
    """rules.test.yml."""
    groups = [group for case in _cases() for group in (_fires(case, pages_at), _stays(case))]
    return {"rule_files": ["rules.yml"], "evaluation_interval": duration(STEP), "tests": groups}


def _cases() -> Iterator[Case]:
    instance = {"instance": "web:8000", "job": "controlplane"}
    yield Case(UNREACHABLE, "up", instance, 1, 1, 0)
    yield Case(UNREACHABLE, "controlplane_readings_ok", instance, 1, 1, 0)
    yield from map(_case, SHIPPED)


def _case(rule: ShippedRule) -> Case:
    scope, _, name = rule.metric.partition(".")
    metric = METRICS[Scope(scope), name]
    labels = {label: SUBJECT[label] for label in LABELS[metric.scope]}
    beyond = _beyond(rule, metric)
    shown = _SHOWN.get(metric.unit, _humanize)(beyond)
    well, allowed = _allowed(rule, metric)
    return Case(translated(rule), metric.prometheus, labels, well, allowed, beyond, shown)


def _beyond(rule: ShippedRule, metric: Metric) -> float:
    if metric.unit is Unit.BOOLEAN or rule.comparison == "==":
        return rule.threshold
    if metric.unit is Unit.RATIO:
        return (rule.threshold + 1) / 2
    return rule.threshold / 2 if rule.comparison.startswith("<") else rule.threshold * 1.5


def _allowed(rule: ShippedRule, metric: Metric) -> tuple[float, float]:
    """One that is well, and one at the very edge."""
    down = not rule.comparison.startswith("<")
    well = 0.0 if down else rule.threshold * 2
    if not rule.comparison.endswith("="):
        return well, rule.threshold
    step = 1.0 if metric.unit in (Unit.BOOLEAN, Unit.COUNT) else rule.threshold / 100
    return well, rule.threshold - step if down else rule.threshold + step


def _series(case: Case, values: str) -> dict[str, str]:
    labels = ", ".join(f'{name}="{value}"' for name, value in case.labels.items())
    return {"series": f"{case.series}{{{labels}}}" if labels else case.series, "values": values}


def _constant(value: float, count: int) -> str:
    return f"{value:.10g}x{count - 1}"


def _fires(case: Case, pages_at: str) -> dict[str, Any]:
    rule = case.rule
    begins = QUIET * STEP
    fires = begins + math.ceil(rule.for_seconds / STEP) * STEP
    ends = fires + LASTS * STEP
    after = ends + math.ceil(rule.keep_firing_seconds / STEP) * STEP + STEP
    values = (
        (case.well, QUIET),
        (case.beyond, (ends - begins) // STEP),
        (case.well, (after - ends) // STEP + 2),
    )
    told = {
        "exp_labels": {**case.labels, **rule.document(pages_at)["labels"]},
        "exp_annotations": _rendered(case, rule.document(pages_at)["annotations"]),
    }
    moments: dict[int, list[Any]] = {fires - STEP: [], fires: [told], after: []}
    return {
        "name": f"{rule.slug}: {case.series} goes beyond",
        "interval": duration(STEP),
        "input_series": [_series(case, " ".join(_constant(*part) for part in values))],
        "alert_rule_test": [
            {"eval_time": duration(at), "alertname": rule.alert, "exp_alerts": alerts} for at, alerts in moments.items()
        ],
    }


def _stays(case: Case) -> dict[str, Any]:
    rule, last = case.rule, case.rule.for_seconds + 4 * STEP
    return {
        "name": f"{rule.slug}: {case.series} is just allowed",
        "interval": duration(STEP),
        "input_series": [_series(case, _constant(case.allowed, last // STEP + 2))],
        "alert_rule_test": [{"eval_time": duration(last), "alertname": rule.alert, "exp_alerts": []}],
    }


def _rendered(case: Case, annotations: dict[str, str]) -> dict[str, str]:
    """As Prometheus fills them in."""
    found = dict(annotations)
    for name, said in annotations.items():
        for label, value in case.labels.items():
            said = said.replace(f"{{{{ $labels.{label} }}}}", value)
        for function in ("humanizePercentage", "humanizeDuration", "humanize1024", "humanize"):
            said = said.replace(f"{{{{ $value | {function} }}}}", case.shown)
        found[name] = said
    return found


def _percentage(value: float) -> str:
    return f"{value * 100:.4g}%"


def _duration(value: float) -> str:
    seconds = int(value)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h {minutes}m {seconds % 60}s"
    if hours:
        return f"{hours}h {minutes}m {seconds % 60}s"
    return f"{minutes}m {seconds % 60}s" if minutes else f"{value:.4g}s"


def _humanize(value: float) -> str:
    prefixes = ["", "k", "M", "G"]
    while abs(value) >= 1000 and len(prefixes) > 1:
        value /= 1000
        prefixes.pop(0)
    return f"{value:.4g}{prefixes[0]}"


_SHOWN: dict[Unit, Callable[[float], str]] = {Unit.RATIO: _percentage, Unit.SECONDS: _duration}
