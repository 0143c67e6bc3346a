"""From what people type to the rows they mean."""

from __future__ import annotations

import argparse
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import ApiKey, Cluster, Operation, Pooler, Tenant

DURATION = re.compile(r"([1-9][0-9]{0,5})([mhdw])\Z")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def find_tenant(text: str) -> Tenant:
    """The tenant with this id or slug; of purged ones with the slug the last, if no other has it. Raises NotFound."""
    tenants = Tenant.objects.select_related("plan", "cluster__host_cluster")
    found = tenants.filter(pk=key).first() if (key := _uuid(text)) else None
    named = _safe(text) and tenants.filter(slug=text)
    if found is None and named:
        found = named.exclude(state=Tenant.State.PURGED).first() or named.order_by("-created_at").first()
    if found is None:
        raise NotFound(f"There is no tenant '{text}'.", hint="See manage.py list_tenants.")
    return found


def find_operation(text: str) -> Operation:
    """The operation with this id. Raises NotFound."""
    operations = Operation.objects.select_related("tenant", "cluster")
    found = operations.filter(pk=key).first() if (key := _uuid(text)) else None
    if found is None:
        raise NotFound(f"There is no operation '{text}'.", hint="See manage.py list_operations.")
    return found


def find_cluster(text: str) -> Cluster:
    """The cluster of this name. Raises NotFound."""
    found = Cluster.objects.filter(name=text).first() if _safe(text) else None
    if found is None:
        names = ", ".join(Cluster.objects.filter(host_cluster=None).values_list("name", flat=True))
        raise NotFound(f"There is no cluster '{text}'.", hint=f"There are: {names or 'none'}.")
    return found


def find_pooler(text: str) -> Pooler:
    """The pooler of the cluster of this name. Raises NotFound."""
    cluster = find_cluster(text)
    found = Pooler.objects.select_related("cluster").filter(cluster=cluster).first()
    if found is None:
        raise NotFound(f"The cluster '{text}' has no pooler.", hint="See manage.py register_pooler --help.")
    return found


def find_poolers(names: list[str]) -> list[Pooler]:
    """Those of the named clusters, or all there are. Raises NotFound."""
    return [find_pooler(name) for name in names] or list(Pooler.objects.select_related("cluster").order_by("pk"))


def find_api_key(text: str) -> ApiKey:
    """The API key with this prefix, whole key, or name that only one usable key has. Raises NotFound, Conflict."""
    prefix = text.removeprefix("cp_").split("_")[0]
    found = ApiKey.objects.filter(prefix=prefix).first() if _safe(prefix) else None
    if found is not None:
        return found
    named = list(ApiKey.objects.filter(name=text)[:9]) if _safe(text) else []
    usable = [key for key in named if key.usable] or named[:1]
    if len(usable) > 1:
        raise Conflict(
            "Several API keys have this name.",
            code="ambiguous",
            hint=f"Say which by its prefix: {', '.join(key.prefix for key in usable)}.",
        )
    if not usable:
        # Not repeated: it may be a key, and errors end up in logs.
        raise NotFound("There is no such API key.", hint="Give its prefix (the ten characters after cp_) or its name.")
    return usable[0]


def _safe(text: str) -> bool:
    """Whether PostgreSQL can be asked about it at all."""
    return "\0" not in text


# --- types of arguments ----------------------------------------------------------------------------------------


def pair(text: str) -> tuple[str, str]:
    """`key=value`, for argparse."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form KEY=VALUE")
    return key, value


def number_pair(text: str) -> tuple[str, int]:
    """`key=number`, for argparse."""
    key, value = pair(text)
    try:
        return key, int(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{value}' is not a whole number (in '{text}')") from error


def natural(text: str) -> int:
    """A whole number from 0 to a million, for argparse."""
    return _whole(text, 1_000_000)


def many(text: str) -> int:
    """A whole number from 0 to a hundred million, for argparse."""
    return _whole(text, 100_000_000)


def _whole(text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) > most:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 to {most}")
    return int(text)


def moment(text: str) -> datetime:
    """A time to come: `30d`, `12h`, `90m`, `2w`, or a date or time in ISO form (UTC); for argparse."""
    if match := DURATION.match(text):
        try:
            return timezone.now() + timedelta(**{UNITS[match.group(2)]: int(match.group(1))})
        except OverflowError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is too long a time") from error
    try:
        found: Any = parse_datetime(text)
        if found is None and (day := parse_date(text)):
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        found = None
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a duration (30d, 12h, 90m) nor a date (2030-12-31)")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def merged(present: dict[str, Any], changes: list[tuple[str, Any]] | None, gone: list[str] | None) -> dict[str, Any]:
    """`present` with `changes` laid over it and `gone` taken out. Raises InvalidInput for what is not there."""
    if missing := [key for key in gone or () if key not in present]:
        raise InvalidInput(f"There is no '{missing[0]}' to remove.", hint=f"There are: {', '.join(present) or 'none'}.")
    kept = {key: value for key, value in present.items() if key not in (gone or ())}
    return {**kept, **dict(changes or ())}
