"""How things are shown: the colours of states, ages, sizes and JSON."""

from __future__ import annotations

import functools
import json
from datetime import datetime
from typing import Any

from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

# One colour for one meaning, whatever the thing is: good, under way, look here, bad. The rest stays grey.
STATE_LABELS = {
    "active": "success",
    "up": "success",
    "unchecked": "info",
    "down": "danger",
    "ready": "success",
    "succeeded": "success",
    "success": "success",
    "provisioning": "info",
    "pending": "info",
    "running": "info",
    "building": "info",
    "suspended": "warning",
    "cancelling": "warning",
    "retiring": "warning",
    "disabled": "warning",
    "denied": "warning",
    "deleted": "danger",
    "failed": "danger",
    "failure": "danger",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@functools.lru_cache(maxsize=64)
def badge(state: str) -> SafeString:
    """A state in its colour. Remembered: there are few states, and lists show one in each row."""
    context = {"text": state, "type": STATE_LABELS.get(state, "")}
    return SafeString(render_to_string("unfold/helpers/label.html", context).strip())


def age(moment: datetime | None) -> str:
    """How long ago something was, in its largest unit: `3 d`."""
    if moment is None:
        return "never"
    return duration(max((timezone.now() - moment).total_seconds(), 0))


def duration(seconds: float | None) -> str:
    """Seconds as people say them: `12 ms`, `3.4 s`, `5 min`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    size, unit = next(entry for entry in _UNITS if seconds >= entry[0])
    return f"{seconds // size:.0f} {unit}"


def moment(at: datetime | None) -> SafeString | str:
    """How long ago, with the exact time for who wants it."""
    if at is None:
        return "never"
    exact = timezone.localtime(at).isoformat(timespec="seconds")
    return format_html('<time datetime="{}" title="{}">{} ago</time>', exact, exact, age(at))


def pretty_json(value: Any) -> SafeString | str:
    """A JSON value, indented; a dash for none."""
    if value in (None, {}, [], ""):
        return "–"
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    return format_html('<pre class="cp-code">{}</pre>', text)


def link_to(target: Model | None, text: str | None = None) -> SafeString | str:
    """A link to an object's admin page; a dash for none."""
    if target is None:
        return "–"
    meta = target._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[target.pk])
    return format_html('<a class="cp-link" href="{}">{}</a>', url, text or str(target))
