"""Template filters over `tenants.admin.display`."""

from __future__ import annotations

from django import template

from tenants.admin import display

register = template.Library()
register.filter("badge", display.badge)
register.filter("age", display.age)
register.filter("duration", display.duration)
register.filter("moment", display.moment)
register.filter("pretty_json", display.pretty_json)
register.filter("link_to", display.link_to)
