"""Scopes for API keys, Django's permissions for people: each view names both, by method."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants.models import ApiKey


def _any_of(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


class HasScope(BasePermission):
    """Any one of the view's `required_scopes`, or `required_permissions`, for the method."""

    message = "You may not do this."
    code = "forbidden"

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the caller may; a method the view does not have is left to the 405."""
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method not in view.required_scopes:
            return request.user is not None
        if isinstance(request.auth, ApiKey):
            wanted = _any_of(view.required_scopes[method])
            self.message = f"This API key lacks the scope {' or '.join(wanted)}."
            self.code = "insufficient_scope"
            return not set(wanted).isdisjoint(request.auth.scopes)
        if request.user is None:
            return False
        return any(request.user.has_perm(name) for name in _any_of(view.required_permissions[method]))
