"""Entity tags: what a caller read, so that it does not overwrite what another has written since."""

from __future__ import annotations

import re
from typing import Any

from tenants.exceptions import InvalidInput, PreconditionFailed
from tenants.models import Tenant

TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|\Z)')


def etag_of(tenant: Tenant) -> str:
    """The strong entity tag of a tenant's representation: its version, and its plan's (whose limits it shows)."""
    plan = tenant.plan
    return f'"{tenant.version}-{plan.pk}-{int(plan.updated_at.timestamp() * 1_000_000):x}"'


def parse_tags(header: str, *, name: str) -> list[tuple[bool, str]] | None:
    """The header's tags as (weak, quoted tag); None stands for `*`. Raises InvalidInput when it is malformed."""
    if header.strip() == "*":
        return None
    tags: list[tuple[bool, str]] = []
    position = 0
    while position < len(header):
        match = TAG.match(header, position)
        if match is None:
            raise InvalidInput(f"{name} is a list of quoted entity tags, or *.", code="malformed_header", field=name)
        tags.append((bool(match.group(1)), f'"{match.group(2)}"'))
        position = match.end()
    if not tags:
        raise InvalidInput(f"{name} is empty.", code="malformed_header", field=name)
    return tags


def check_if_match(request: Any, tenant: Tenant) -> int | None:
    """The version that must still be there when the change is written; None when the caller did not say.

    Raises PreconditionFailed when what it read is out of date, InvalidInput when If-Match is malformed.
    """
    header = request.headers.get("If-Match")
    if header is None:
        return None
    tags = parse_tags(header, name="If-Match")
    if tags is not None and (False, etag_of(tenant)) not in tags:
        raise PreconditionFailed(hint="Read it again, and decide again.")
    return None if tags is None else tenant.version


def not_modified(request: Any, tenant: Tenant) -> bool:
    """Whether If-None-Match names the present state (a 304 suffices). Raises InvalidInput when it is malformed."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    tags = parse_tags(header, name="If-None-Match")
    return tags is None or etag_of(tenant) in [tag for _, tag in tags]
