"""What the pages about alerts share."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.http import HttpRequest
from django.utils import timezone

from tenants.exceptions import InvalidInput

SEVERITIES = {"critical": "danger", "warning": "warning", "info": "info"}
STATES = {
    "firing": "danger", "acknowledged": "warning", "pending": "info", "resolved": "success", "silenced": "",
    "waiting": "info", "sending": "info", "sent": "success", "failed": "danger",
}  # fmt: skip
# How long the buttons silence; "end" ends it.
SILENCES = {"1h": timedelta(hours=1), "4h": timedelta(hours=4), "1d": timedelta(days=1)}


def until_of(request: HttpRequest) -> datetime | None:
    """Until when the pressed button silences; None ends it. Raises InvalidInput for another."""
    pressed = request.POST.get("for", "")
    if pressed == "end":
        return None
    if pressed not in SILENCES:
        raise InvalidInput("For 1h, 4h or 1d.", field="for")
    return timezone.now() + SILENCES[pressed]
