"""Query parameters: those a view knows, each once, each valid; anything else is refused by name."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from django_filters.rest_framework import DjangoFilterBackend

from tenants.exceptions import InvalidInput

MAY_BE_EMPTY = {"reason"}


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter; invalid values are a 400 that names them."""

    raise_exception = True


def refuse_unknown(query: QueryDict, known: set[str]) -> None:
    """Raises InvalidInput for the first parameter that is unknown, given twice, empty or not text."""
    for name, values in query.lists():
        if name not in known:
            shown = name[:60] if name.isprintable() else ascii(name[:60])
            hint = f"Known: {', '.join(sorted(known))}." if known else "None is known here."
            raise InvalidInput(
                f"There is no query parameter '{shown}'.", code="unknown_parameter", field=shown, hint=hint
            )
        if len(values) > 1:
            raise InvalidInput(f"The query parameter '{name}' is given twice.", code="duplicate_parameter", field=name)
        if not values[0] and name not in MAY_BE_EMPTY:
            raise InvalidInput(f"The query parameter '{name}' is empty.", field=name, hint="Leave it out.")
        if "\x00" in values[0]:
            raise InvalidInput("NUL bytes are not allowed.", code="nul_byte", field=name)


def known_parameters(view: Any) -> set[str]:
    """All that `view` understands."""
    known = set(view.query_parameters)
    filterset = getattr(view, "filterset_class", None)
    if filterset is not None:
        known |= set(filterset.base_filters)
    if getattr(view, "paginated", False):
        known |= {"cursor", "page_size"}
    return known
