"""JSON, fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import BaseRenderer


class JsonRenderer(BaseRenderer):
    """UTF-8 JSON by orjson: times as RFC 3339 in UTC, UUIDs as text."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """`data` as JSON; nothing for None (a 204 or 304 has no body)."""
        if data is None:
            return b""
        return orjson.dumps(data, option=orjson.OPT_UTC_Z)
