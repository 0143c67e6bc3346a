"""Template filters over `controlplane.boards.shown`."""

from __future__ import annotations

from django import template

from controlplane.boards import shown

register = template.Library()
register.filter("taken", shown.taken)
register.filter("taken_daily", shown.taken_daily)
register.filter("cache_hit", shown.cache_hit)
register.filter("bytes_text", shown.bytes_text)
register.filter("percent", shown.percent)
