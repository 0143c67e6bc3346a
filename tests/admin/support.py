"""Addresses, forms and what they led to."""

from __future__ import annotations

import html
import re
from typing import Any

from django.urls import reverse

PASSWORD = "a password for tests only 17"


def url(view: str, *arguments: Any) -> str:
    """An admin page by its name, without the `admin:`."""
    return reverse(f"admin:{view}", args=arguments)


def tenant_url(tenant: Any, act: str = "change") -> str:
    """A page of a tenant."""
    return url(f"tenants_tenant_{act}", tenant.pk)


def text_of(response: Any) -> str:
    """The page as people read it: no tags, one space between words."""
    bare = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", response.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(bare))


def events(action: str, **filters: Any) -> Any:
    """Audit events of this action, newest first."""
    from tenants.models import AuditEvent

    return AuditEvent.objects.filter(action=action, **filters)


def form_errors(response: Any) -> dict[str, list[str]]:
    """The errors of the form on a page, by field; `__all__` for those of no field."""
    return {field: [str(e) for e in found] for field, found in response.context["form"].errors.items()}
