"""How tenants and their credentials look in a terminal, and as documents."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from provisioning.models import TenantCredential
from provisioning.services import Connection, Outcome
from tenants.management import represent
from tenants.management.output import Output
from tenants.models import TenantRole

ONCE = "The password is shown this once."


def outcome(result: Outcome) -> dict[str, Any]:
    """A tenant after an act, and the operation that did it."""
    operation = represent.operation(result.operation, steps=True) if result.operation else None
    return {**represent.tenant(result.tenant), "operation": operation}


def with_connection(result: Outcome, connection: Connection | None) -> dict[str, Any]:
    """The same with the credentials, for the one answer that has them."""
    return {**outcome(result), "connection": connection.as_dict() if connection else None}


def dsn_argument(parser: CommandParser) -> None:
    """`--show-dsn-only`."""
    parser.add_argument(
        "--show-dsn-only", action="store_true", help="print the connection URL and nothing else, for scripts"
    )


def print_acted(document: dict[str, Any], out: Output, *, remark: str = "") -> None:
    """One line for an act that is done."""
    seconds = (document["operation"] or {}).get("seconds")
    took = f" ({seconds:.2f} s)" if seconds is not None else ""
    out.line(f"Tenant {document['slug']} is {document['state']}.{took}")
    if remark:
        out.line(remark, style="dim")


def login(row: TenantRole) -> dict[str, Any]:
    """One of a tenant's own logins."""
    names = ("name", "state", "issued_at", "collected_at", "retire_at", "close_by", "last_seen_at")
    return {name: getattr(row, name) for name in names}


def credential(row: TenantCredential) -> dict[str, Any]:
    """An additional login."""
    names = (
        "login", "access", "owner", "reason", "created_by", "created_at", "expires_at", "closed_at", "closed_because",
        "last_seen_at",
    )  # fmt: skip
    return {"id": str(row.pk), **{name: getattr(row, name) for name in names}}


def print_connection(title: str, connection: dict[str, Any], out: Output, *, dsn_only: bool, once: str = ONCE) -> None:
    """The credentials; only the URL when a script asks."""
    if dsn_only:
        out.line(connection["dsn"])
        return
    out.facts(title, {name: connection[name] for name in ("host", "port", "dbname", "user", "password", "search_path")})
    out.line()
    out.line(f"  psql '{connection['dsn']}'")
    if once:
        out.line()
        out.line(once, style="yellow")
