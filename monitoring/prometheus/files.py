"""All generated files by their path, as text; written, or compared with what there is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from monitoring.prometheus import config, dashboards
from monitoring.prometheus.config import Places
from monitoring.prometheus.rule_tests import cases_file
from monitoring.prometheus.rules import rules_file

HEADER = "# Made by `manage.py prometheus_files`; change its source, not this file.\n"
AS_SHIPPED = Places()


def generated(places: Places = AS_SHIPPED) -> dict[str, str]:
    """Each file's text by its path below the directory."""
    documents: dict[str, Mapping[str, Any]] = {
        "prometheus/prometheus.yml": config.prometheus(places),
        "prometheus/alertmanager.yml": config.alertmanager(),
        "prometheus/rules.yml": rules_file(places.pages_at),
        "prometheus/rules.test.yml": cases_file(places.pages_at),
    }
    documents |= {f"grafana/provisioning/{path}": document for path, document in dashboards.provisioning().items()}
    boards = {
        f"grafana/dashboards/{name}.json": json.dumps(document, indent=2) + "\n"
        for name, document in dashboards.dashboards().items()
    }
    return {path: _yaml(document) for path, document in documents.items()} | boards


def write(directory: Path, files: Mapping[str, str]) -> list[str]:
    """Write those that differ. Returns their paths. Raises OSError."""
    changed = differing(directory, files)
    for path in changed:
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(files[path], encoding="utf-8")
    return changed


def differing(directory: Path, files: Mapping[str, str]) -> list[str]:
    """Paths of those that are missing there or have another text."""
    return [path for path, text in files.items() if _text(directory / path) != text]


def _text(place: Path) -> str | None:
    try:
        return place.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


class _Dumper(yaml.SafeDumper):
    """Indents lists, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Never without an indent."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Everything is written out."""
        return True


def _yaml(document: Mapping[str, Any]) -> str:
    text = yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)
    return HEADER + text
