"""prometheus.yml and alertmanager.yml: what asks whom, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monitoring.prometheus.rules import PAGES_AT


@dataclass(frozen=True)
class Places:
    """Where things are; as in docker/compose.yaml unless said otherwise. `token_file` holds METRICS_TOKEN."""

    target: str = "web:8000"
    alertmanager: str = "alertmanager:9093"
    token_file: str = "/run/secrets/metrics_token"  # noqa: S105  # a path
    pages_at: str = PAGES_AT


def prometheus(places: Places) -> dict[str, Any]:
    """prometheus.yml. Tenants' page costs more and changes less: it is asked for once a minute."""

    def job(name: str, path: str, **more: Any) -> dict[str, Any]:
        return {
            "job_name": name,
            **more,
            "metrics_path": path,
            "authorization": {"type": "Bearer", "credentials_file": places.token_file},
            "static_configs": [{"targets": [places.target]}],
        }

    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [places.alertmanager]}]}]},
        "scrape_configs": [
            job("controlplane", "/metrics"),
            # Labels `tenant`, `cluster` and `plan` are the page's own.
            job("controlplane-tenants", "/metrics/tenants", scrape_interval="30s", scrape_timeout="10s"),
        ],
    }


def alertmanager() -> dict[str, Any]:
    """alertmanager.yml: a beginning. Nobody is told until receivers say how (e-mail, webhook, Slack, a pager)."""
    return {
        "route": {
            "receiver": "operators",
            "group_by": ["alertname", "cluster"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "12h",
            "routes": [{"matchers": ['severity="critical"'], "receiver": "on-call", "repeat_interval": "1h"}],
        },
        "inhibit_rules": [
            # Who is told that a creation took over 10 s need not be told that it took over 8.
            {
                "source_matchers": ['severity="critical"'],
                "target_matchers": ['severity="warning"'],
                "equal": ["runbook", "cluster", "tenant"],
            },
        ],
        "receivers": [{"name": "operators"}, {"name": "on-call"}],
    }
