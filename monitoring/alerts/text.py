"""What alerts say: figures with their unit, and templates that can do nothing but name a value."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.conf import settings

from monitoring.catalogue import Unit
from tenants.exceptions import InvalidInput

# What a template may name in braces.
NAMES = ("value", "threshold", "subject", "tenant", "cluster", "rule", "severity", "for")
_PLACE = re.compile(r"\{([^{}]*)\}")
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIZES = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"), (1, "B"))


def figure(value: float, unit: Unit) -> str:
    """A figure as people read it: `93 %`, `12.4 s`, `3.2 GiB`, `yes`."""
    if unit is Unit.RATIO:
        return f"{value * 100:.4g} %"
    if unit is Unit.BOOLEAN:
        return "yes" if value else "no"
    if unit in (Unit.SECONDS, Unit.BYTES):
        sign, size = "-" if value < 0 else "", abs(value)
        steps = _TIMES if unit is Unit.SECONDS else _SIZES
        if unit is Unit.SECONDS and size < 300:  # 8.4 s and 10 s are what people compare
            return f"{sign}{size:.3g} s"
        least, name = next((step for step in steps if size >= step[0]), steps[-1])
        return f"{sign}{size / least:.3g} {name}"
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def check_template(text: str, *, field: str) -> str:
    """`text`, if all it names exists. Raises InvalidInput."""
    for name in _PLACE.findall(text):
        if name not in NAMES:
            raise InvalidInput(
                f"A template knows no {{{name[:40]}}}.", field=field, hint=f"It knows {', '.join(NAMES)}."
            )
    if "{" in _PLACE.sub("", text) or "}" in _PLACE.sub("", text):
        raise InvalidInput("A brace has no partner.", field=field)
    return text


def render(template: str, values: Mapping[str, str]) -> str:
    """The template with its values; one pass, so that a value's own braces stay what they are."""
    return _PLACE.sub(lambda match: values.get(match.group(1), match.group(0)), template)


def runbook_url(slug: str) -> str:
    """Where the page about `slug` is; empty without one."""
    return f"{settings.RUNBOOK_URL.rstrip('/')}/{slug}" if slug else ""
