"""Pages by key, newest first: page 1,000 costs as much as page 1, and rows added meanwhile shift nothing."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.core import signing
from django.db.models import Q
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.exceptions import InvalidInput

DEFAULT_SIZE, MAX_SIZE = 50, 200
NEXT, PREVIOUS = "n", "p"


class NewestFirstPagination(BasePagination):
    """Orders by the view's `ordering` (names of fields, all descending, the last one unique).

    A cursor holds the ordering values of the row at the page's edge, signed: it is opaque, and an altered one, or
    one of another list, is refused.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """The page's rows. Raises InvalidInput for a bad `page_size` or `cursor`."""
        self.fields: tuple[str, ...] = view.ordering
        self.request = request
        self.signer = signing.Signer(salt=f"cursor:{request.path}")
        self.size = _size(request.query_params.get("page_size"))
        direction, edge = self._read(request.query_params.get("cursor"))
        back = direction == PREVIOUS
        if edge is not None:
            queryset = queryset.filter(_beyond(self.fields, edge, "gt" if back else "lt"))
        queryset = queryset.order_by(*(name if back else f"-{name}" for name in self.fields))
        rows = list(queryset[: self.size + 1])
        more, rows = len(rows) > self.size, rows[: self.size]
        if back:
            rows.reverse()
        self.has_previous, self.has_next = (more, True) if back else (edge is not None, more)
        self.rows = rows
        return rows

    def _read(self, cursor: str | None) -> tuple[str, list[str] | None]:
        if cursor is None:
            return NEXT, None
        try:
            direction, *edge = self.signer.unsign_object(cursor)
            if direction not in (NEXT, PREVIOUS) or len(edge) != len(self.fields):
                raise ValueError
        except Exception as error:
            raise InvalidInput(
                "This cursor is not one that this list has given out.",
                code="invalid_cursor",
                field="cursor",
                hint="Follow the `next` and `previous` links as they are.",
            ) from error
        return direction, edge

    def _link(self, direction: str, row: Any) -> str:
        edge = [_text(getattr(row, name)) for name in self.fields]
        query = self.request.query_params.copy()
        query["cursor"] = self.signer.sign_object([direction, *edge])
        return f"{self.request.build_absolute_uri(self.request.path)}?{urlencode(sorted(query.items()))}"

    def get_paginated_response(self, data: Any) -> Response:
        """The page, with links to those beside it."""
        return Response(
            {
                "results": data,
                "next": self._link(NEXT, self.rows[-1]) if self.rows and self.has_next else None,
                "previous": self._link(PREVIOUS, self.rows[0]) if self.rows and self.has_previous else None,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The page in OpenAPI."""
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": dict(link)},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """The page's parameters in OpenAPI."""
        size = {"type": "integer", "minimum": 1, "maximum": MAX_SIZE, "default": DEFAULT_SIZE}
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": "Opaque; comes with `next` and `previous`.",
                "schema": {"type": "string"},
            },
            {"name": "page_size", "in": "query", "required": False, "description": "Rows a page.", "schema": size},
        ]


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _size(text: str | None) -> int:
    if text is None:
        return DEFAULT_SIZE
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MAX_SIZE):
        raise InvalidInput(f"page_size is a whole number from 1 to {MAX_SIZE}.", field="page_size")
    return int(text)


def _beyond(fields: tuple[str, ...], edge: list[str], lookup: str) -> Q:
    """Rows past the edge: (a, b) < (x, y), written so that an index on (a, b) is used."""
    first, *rest = fields
    if not rest:
        return Q(**{f"{first}__{lookup}": edge[0]})
    tie = Q(**{first: edge[0]}) & _beyond(tuple(rest), edge[1:], lookup)
    return Q(**{f"{first}__{lookup}e": edge[0]}) & (Q(**{f"{first}__{lookup}": edge[0]}) | tie)
