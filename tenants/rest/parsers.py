"""JSON without its ambiguities: what two parsers could read in two ways is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from tenants.exceptions import ControlPlaneError, InvalidInput

MAX_DEPTH = 20


class _Duplicate(ValueError):
    pass


def _malformed(message: str, **extra: Any) -> InvalidInput:
    return InvalidInput(message, code="malformed_body", **extra)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Duplicate(key)
            seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise _malformed(f"{name} is not a number in JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed("A number is too large.")
    return number


def _check_text(text: str, path: str) -> None:
    if "\x00" in text:
        raise InvalidInput("NUL bytes are not allowed.", code="nul_byte", field=path)
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidInput("This is not valid Unicode (a lone surrogate).", code="invalid_unicode", field=path)


def _check(value: Any, path: str = "", depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise _malformed(f"The body is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, str):
        _check_text(value, path or "body")
    elif isinstance(value, dict):
        for key, item in value.items():
            # The key itself cannot be named when it is what is wrong.
            _check_text(key, path or "body")
            _check(item, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}.{index}", depth + 1)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is. Raises InvalidInput, saying what is wrong and where."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("The body is not UTF-8.") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
    except _Duplicate as error:
        key = str(error)[:100]
        printable = key if key.isprintable() else ascii(key)
        raise InvalidInput(f"The key '{printable}' occurs twice.", code="duplicate_key", field=printable) from error
    except json.JSONDecodeError as error:
        raise _malformed(f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from error
    except RecursionError as error:
        raise _malformed(f"The body is nested more than {MAX_DEPTH} levels deep.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _malformed("A number is too large.") from error
    if not isinstance(value, dict):
        raise _malformed("The body is a JSON object.")
    _check(value)
    return value


class StrictJsonParser(BaseParser):
    """UTF-8 JSON objects of at most DATA_UPLOAD_MAX_MEMORY_SIZE bytes."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The body. Raises InvalidInput, UnsupportedMediaType, or 413 when it is too long."""
        request = (parser_context or {}).get("request")
        charset = getattr(request, "content_params", {}).get("charset", "utf-8") if request else "utf-8"
        if charset.strip('"').lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType(media_type or "", detail="JSON is UTF-8.")
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise ControlPlaneError(f"The body has more than {limit} bytes.", code="body_too_large", status=413)
        return parse_object(body)
