"""Limits as people read and type them."""

from __future__ import annotations

from typing import Any

from django import forms

from tenants.models.plans import LIMITS

# Label, unit, and how many of what is stored one of the unit is.
_SHOWN: dict[str, tuple[str, str, int]] = {
    "connection_limit": ("Connections", "", 1),
    "pool_size": ("Pool size", "", 1),
    "client_limit": ("Clients of the pooler", "", 1),
    "statement_timeout_ms": ("Statement timeout", "ms", 1),
    "idle_in_transaction_timeout_ms": ("Idle in transaction timeout", "ms", 1),
    "lock_timeout_ms": ("Lock timeout", "ms", 1),
    "temp_file_limit_kb": ("Temporary files", "MiB", 1024),
    "storage_quota_bytes": ("Storage quota", "MiB", 1024**2),
    "rotation_max_age_days": ("Age of a login", "days", 1),
}


def label(name: str) -> str:
    """What a limit is called."""
    return _SHOWN[name][0]


def show(name: str, value: int) -> str:
    """A limit's value with its unit: `30 s`, `10 GiB`, `50`."""
    _, unit, factor = _SHOWN[name]
    if unit == "ms":
        return f"{value / 1000:g} s"
    if unit == "MiB":
        mebibytes = value / factor
        return f"{mebibytes / 1024:g} GiB" if mebibytes >= 1024 else f"{mebibytes:g} MiB"
    if unit == "days":
        return f"{value} days" if value else "not limited"
    return str(value)


def field(name: str, *, required: bool, help_text: str = "") -> forms.IntegerField:
    """A form field for a limit, in its unit and within its bounds."""
    text, unit, factor = _SHOWN[name]
    low, high = (bound // factor for bound in LIMITS[name])
    range_text = f"{low:,} to {high:,}{' ' + unit if unit else ''}. {help_text}"
    return forms.IntegerField(
        label=f"{text} ({unit})" if unit else text,
        required=required,
        min_value=low,
        max_value=high,
        help_text=range_text.strip(),
    )


def to_form(values: dict[str, int]) -> dict[str, int]:
    """Stored values in the units of the form."""
    return {name: value // _SHOWN[name][2] for name, value in values.items() if name in _SHOWN}


def from_form(data: dict[str, Any], stored: dict[str, int]) -> dict[str, int]:
    """What a form says, as it is stored. A value that still reads as before stays exactly what it was."""
    shown = to_form(stored)
    typed = {name: data[name] for name in LIMITS if data.get(name) is not None}
    return {
        name: stored[name] if value == shown.get(name) else value * _SHOWN[name][2] for name, value in typed.items()
    }
