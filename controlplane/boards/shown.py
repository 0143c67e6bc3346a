"""How figures are written, and how old they are."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from monitoring.probes import Statement
from monitoring.readings import FRESH
from tenants.admin.display import age, duration

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def bytes_text(value: float | None) -> str:
    """`1.5 GiB`; a dash for none."""
    if value is None:
        return "–"
    size, unit = float(value), 0
    while abs(size) >= 1024 and unit < len(_SIZES) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_SIZES[unit]}" if abs(size) >= 100 or unit == 0 else f"{size:.1f} {_SIZES[unit]}"


def per_day(value: float) -> str:
    """`+12 MiB a day`."""
    return f"{'+' if value >= 0 else '−'}{bytes_text(abs(value))} a day"


def percent(ratio: float | None) -> str:
    """`83 %`; with a decimal where rounding would make it 100."""
    if ratio is None:
        return "–"
    return f"{100 * ratio:.2f} %" if 0.99 <= ratio < 1 else f"{100 * ratio:.0f} %"


def rate(value: float | None) -> str:
    """`12.3 /s`."""
    return "–" if value is None else f"{value:,.1f} /s"


def value_text(value: float | None, unit: str) -> str:
    """A metric's figure in its unit (see monitoring.catalogue.Unit)."""
    if value is None:
        return "–"
    texts = {"bytes": bytes_text, "seconds": duration, "ratio": percent}
    if unit in texts:
        return texts[unit](value)
    if unit == "bool":
        return "yes" if value else "no"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def cache_hit(statement: Statement) -> str:
    """The share of a statement's blocks that were in the server's memory."""
    blocks = statement.blocks_hit + statement.blocks_read
    return percent(statement.blocks_hit / blocks if blocks else None)


def is_fresh(at: datetime | None) -> bool:
    """Whether what was taken then is a figure of now."""
    return at is not None and at > timezone.now() - FRESH


def taken(at: datetime | None) -> SafeString | str:
    """When a figure was taken: how long ago, or that there has been none since; never an old one as if it were new."""
    if at is None:
        return format_html('<span class="cp-taken-at cp-stale">no data yet</span>')
    exact = timezone.localtime(at)
    if is_fresh(at):
        return format_html(
            '<span class="cp-taken-at"><time datetime="{}" title="{}">{} ago</time></span>',
            exact.isoformat(timespec="seconds"), exact.isoformat(timespec="seconds"), age(at),
        )  # fmt: skip
    return _old(exact)


def taken_daily(day: datetime | None) -> SafeString | str:
    """The same of figures that are made from whole days: they are of now until a day is left out."""
    if day is None or day > timezone.now() - timedelta(days=2):
        return (
            taken(day) if day is None else format_html('<span class="cp-taken-at">up to {}</span>', f"{day:%Y-%m-%d}")
        )
    return _old(timezone.localtime(day))


def _old(exact: datetime) -> SafeString:
    return format_html(
        '<span class="cp-taken-at cp-stale">no data since <time datetime="{}">{} UTC</time></span>',
        exact.isoformat(timespec="seconds"), f"{exact:%Y-%m-%d %H:%M}",
    )  # fmt: skip
