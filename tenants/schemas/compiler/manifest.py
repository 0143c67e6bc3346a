"""`template.toml`: what SQL cannot say of a template, i.e. its description and its time-series tables."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tenants.exceptions import TemplateRefused
from tenants.schemas.compiler.model import Draft
from tenants.schemas.timeseries import TimeSeries

NAME = "template.toml"
_KEYS = {"description", "schema", "timeseries"}
_SERIES_KEYS = {"table", "column", "interval", "retention", "premake"}
_MAX_DESCRIPTION = 500


def read(path: Path, draft: Draft) -> None:
    """Take the file at `path` into `draft`. Raises TemplateRefused for whatever it should not say."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TemplateRefused(reason=f"not valid TOML: {error}", file=path.name) from error
    _only(content, _KEYS, "", path)
    draft.description = _text(content, "description", path, default="")
    if len(draft.description) > _MAX_DESCRIPTION:
        raise TemplateRefused(reason=f"description is longer than {_MAX_DESCRIPTION} characters", file=path.name)
    draft.schema = _text(content, "schema", path, default=draft.schema)
    series = content.get("timeseries", [])
    if not isinstance(series, list) or not all(isinstance(entry, dict) for entry in series):
        raise TemplateRefused(reason="timeseries must be written as [[timeseries]] tables", file=path.name)
    for entry in series:
        draft.timeseries.append(_series(entry, path))
    names = [spec.table for spec in draft.timeseries]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise TemplateRefused(reason=f"the table {duplicate!r} is declared twice", file=path.name)


def _series(entry: dict[str, Any], path: Path) -> TimeSeries:
    where = f"timeseries {entry.get('table', '?')!r}: "
    _only(entry, _SERIES_KEYS, where, path)
    if missing := sorted(_SERIES_KEYS - entry.keys()):
        raise TemplateRefused(reason=f"{where}{', '.join(missing)} missing", file=path.name)
    for key in ("table", "column"):
        _text(entry, key, path)
    spec = TimeSeries(**entry)
    if problem := spec.problem():
        raise TemplateRefused(reason=where + problem, file=path.name)
    return spec


def _only(content: dict[str, Any], allowed: set[str], where: str, path: Path) -> None:
    if unknown := sorted(content.keys() - allowed):
        raise TemplateRefused(
            reason=f"{where}unknown key {unknown[0]!r}", file=path.name, hint=f"Known: {', '.join(sorted(allowed))}."
        )


def _text(content: dict[str, Any], key: str, path: Path, default: str | None = None) -> str:
    value = content.get(key, default)
    if not isinstance(value, str) or (default is None and not value):
        raise TemplateRefused(reason=f"{key} must be text", file=path.name)
    return value
