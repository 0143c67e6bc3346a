"""How sizes and rates are shown."""

from __future__ import annotations

from typing import Any

from django import template

from backups.management.represent import size

register = template.Library()
register.filter("size", size)


@register.filter
def rate(bytes_per_second: Any) -> str:
    """Bytes a second as people say them."""
    return f"{size(int(bytes_per_second))}/s" if bytes_per_second else "–"
