"""Dangerous acts want to know that the person is still there: their password (and code) within the last five minutes.

The session only holds when that was; `controlplane.door` asks and writes it.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse

SESSION_KEY = "confirmed_at"
RECENT_SECONDS = 300


def note_confirmed(session: Any) -> None:
    """Write down that the person has just shown who they are."""
    session[SESSION_KEY] = time.time()


def is_recent(request: Any) -> bool:
    """Whether they did within the last five minutes."""
    at = request.session.get(SESSION_KEY, 0)
    return 0 <= time.time() - at <= RECENT_SECONDS


def ask_first(request: HttpRequest, *, back: str = "") -> HttpResponseRedirect | None:
    """The way to the page that asks, which leads back here (or to `back`); None when they did so recently."""
    if is_recent(request):
        return None
    if request.method == "POST":
        messages.warning(request, "Nothing was done: too much time went by. Do it again now.")
    query = urlencode({"next": back or request.get_full_path()})
    return HttpResponseRedirect(f"{reverse('admin:confirm')}?{query}")
