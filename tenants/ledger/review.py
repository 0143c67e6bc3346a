"""Reading the log as auditors do: pages by key, numbers by estimate, differences, and signing off what was read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime
from psycopg.errors import QueryCanceled

from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import AuditEvent, AuditFilter, AuditReview, AuditSeal

PAGE = 50
# A filter that fits hardly anything makes the server read much. Rather an honest "narrow it down" than a long wait.
PATIENCE_MS = 3_000
MAX_FILTERS = 50


class TooSlow(InvalidInput):
    """The log has too much to look through for this filter."""

    code = "too_slow"


@dataclass(frozen=True)
class Page:
    """Events, the cursors of the pages beside it, and about how many events there are (exact when they are few)."""

    events: list[AuditEvent]
    newer: str | None
    older: str | None
    total: int
    exact: bool


def page(events: QuerySet[AuditEvent], *, cursor: str = "", size: int = PAGE) -> Page:
    """The newest events, or those at a cursor that a page has given. Raises InvalidInput, or TooSlow after 3 s."""
    back, edge = _read(cursor)
    wanted = events
    if edge is not None:
        wanted = wanted.filter(_beyond(edge, "gt" if back else "lt"))
    order = ("at", "id") if back else ("-at", "-id")
    with _patience():
        rows = list(wanted.order_by(*order)[: size + 1])
        more, rows = len(rows) > size, rows[:size]
        if back:
            rows.reverse()
        whole = not more and edge is None
        total = len(rows) if whole else estimate(events)
    newer = more if back else edge is not None
    older = True if back else more
    return Page(
        events=rows,
        newer=_cursor("n", rows[0]) if rows and newer else None,
        older=_cursor("o", rows[-1]) if rows and older else None,
        total=total,
        exact=whole,
    )


def estimate(events: QuerySet[AuditEvent]) -> int:
    """About how many events these are, as the planner thinks: the same few milliseconds for ten or ten million."""
    plan = json.loads(events.order_by().explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])


@contextmanager
def _patience() -> Iterator[None]:
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE_MS)])
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow(hint="Add a time range, a tenant or a request.") from error
        raise


def _cursor(direction: str, event: AuditEvent) -> str:
    return f"{direction}_{event.pk}_{event.at.isoformat()}"


def _read(cursor: str) -> tuple[bool, tuple[datetime, int] | None]:
    if not cursor:
        return False, None
    try:
        direction, number, text = cursor.split("_", 2)
        at = parse_datetime(text.replace(" ", "+"))
        if direction not in ("n", "o") or at is None or at.tzinfo is None:
            raise ValueError
        return direction == "n", (at, int(number))
    except ValueError as error:
        raise InvalidInput("This is no page of the log.", field="cursor") from error


def _beyond(edge: tuple[datetime, int], lookup: str) -> Q:
    at, number = edge
    tie = Q(at=at) & Q(**{f"id__{lookup}": number})
    return Q(**{f"at__{lookup}e": at}) & (Q(**{f"at__{lookup}": at}) | tie)


@dataclass(frozen=True)
class Difference:
    """One field before and after; `kind` is added, removed, changed or same."""

    name: str
    before: str
    after: str
    kind: str


def difference(event: AuditEvent) -> list[Difference]:
    """What an event changed, field by field; of nested objects with the path to it."""
    before, after = dict(_flat(event.before)), dict(_flat(event.after))
    found = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if name not in after:
            # With nothing after, what stood there is told, not taken away.
            kind = "removed" if event.after is not None else "same"
        elif name not in before:
            kind = "added"
        else:
            kind = "same" if old == new else "changed"
        found.append(Difference(name, old or "", new or "", kind))
    return found


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and (value or not path):
        for name, part in value.items():
            yield from _flat(part, f"{path}.{name}" if path else str(name))
    elif value is not None or path:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def next_to_review() -> int:
    """The first seal that nobody has signed off."""
    last = AuditReview.objects.order_by("-to_seq").values_list("to_seq", flat=True).first()
    return (last or 0) + 1


@transaction.atomic
def sign_off(*, from_seq: int, to_seq: int, note: str, actor: Actor, source: Source) -> AuditReview:
    """Note that `actor` has reviewed these seals, with the hash that stood at the end of them, in the log itself, too.

    Raises InvalidInput for a range that there is not and without a note, Conflict when part of it is signed off.
    """
    if not note.strip():
        raise InvalidInput("Say what was looked at, and what came of it.", field="note")
    if from_seq < 1 or to_seq < from_seq:
        raise InvalidInput("The range ends before it begins.", field="to_seq")
    seal = AuditSeal.objects.filter(seq=to_seq).first()
    if seal is None:
        raise InvalidInput(f"There is no seal {to_seq} yet.", field="to_seq")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('controlplane.audit.review', 0))")
    other = AuditReview.objects.filter(to_seq__gte=from_seq, from_seq__lte=to_seq, reviewer_id=actor.id).first()
    if other is not None:
        raise Conflict(f"You have signed off {other.from_seq} to {other.to_seq} before.")
    review = AuditReview.objects.create(
        from_seq=from_seq,
        to_seq=to_seq,
        hash=bytes(seal.hash).hex(),
        reviewer_id=actor.id[:64],
        reviewer_label=actor.label[:150],
        note=note.strip()[:500],
    )
    after = {"from_seq": from_seq, "to_seq": to_seq, "hash": review.hash}
    audit.record("audit.review", actor=actor, source=source, target=review, after=after, reason=note.strip())
    return review


def save_filter(*, owner: Any, name: str, query: str) -> AuditFilter:
    """Keep a filter for its owner, in place of one of the same name. Raises InvalidInput."""
    name = name.strip()
    if not name or len(name) > 60 or not name.isprintable():
        raise InvalidInput("A name has 1 to 60 characters.", field="name")
    if not query or len(query) > 1000:
        raise InvalidInput("There is nothing to keep: choose a filter first.", field="query")
    own = AuditFilter.objects.filter(owner=owner)
    if own.exclude(name=name).count() >= MAX_FILTERS:
        raise InvalidInput(f"More than {MAX_FILTERS} filters are not kept.", field="name")
    return AuditFilter.objects.update_or_create(owner=owner, name=name, defaults={"query": query})[0]


def seal_of(event: AuditEvent) -> AuditSeal | None:
    """An event's place in the chain; None while it waits for it."""
    return AuditSeal.objects.filter(event_id=event.pk).first()


def covering(seq: int) -> Sequence[AuditReview]:
    """Who has signed off this seal."""
    return list(AuditReview.objects.filter(to_seq__gte=seq, from_seq__lte=seq).order_by("to_seq")[:5])
