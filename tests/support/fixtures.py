"""Rows and names that tests begin with."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from tenants.actors import Actor, Source

ACTOR = Actor(kind="command", id="", label="tests")
SOURCE = Source(channel="command", request_id="tests")
TINY = Path(__file__).parent / "tiny"


def fresh_slug(stem: str = "tenant") -> str:
    """A slug nobody else uses."""
    return f"{stem}-{secrets.token_hex(6)}"


def default_plan() -> Any:
    """The default plan: the shipped one, or one made here."""
    from tenants.models import Plan

    plan = Plan.objects.filter(is_default=True).first()
    return plan or Plan.objects.create(slug="standard", name="Standard", is_default=True)


def tiny_template(cluster: Any, *, default: bool = True) -> Any:
    """A template of a few tables, imported through the service as every other; made once a database."""
    from provisioning.imports import import_template
    from provisioning.models import TemplateVersion
    from tenants.schemas.compiler import SqlDirectory

    found = TemplateVersion.objects.filter(template__name="tiny").order_by("-number").first()
    if found is not None:
        return found
    return import_template(
        name="tiny",
        origin=SqlDirectory(TINY),
        description="A few tables for tests.",
        default=default,
        cluster=cluster,
        actor=ACTOR,
        source=SOURCE,
    )[0]
