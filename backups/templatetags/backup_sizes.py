"""How sizes, rates and expected times are shown."""

from __future__ import annotations

from typing import Any

from django import template

from backups.management.represent import size
from backups.services import recovery
from backups.services.preview import Expected

register = template.Library()
register.filter("size", size)


@register.simple_tag
def expected_restore(tenant: Any) -> Expected | None:
    """How long a restore of the tenant's newest good backup would take now; None without one."""
    return recovery.expected_of(tenant)


@register.filter
def rate(bytes_per_second: Any) -> str:
    """Bytes a second as people say them."""
    return f"{size(int(bytes_per_second))}/s" if bytes_per_second else "–"
