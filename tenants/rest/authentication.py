"""API keys for machines, the admin's session for people who try things in the documentation."""

from __future__ import annotations

from typing import Any

from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from tenants.api_keys import find_api_key
from tenants.models import ApiKey

SCHEME = "api-key"


class MachineCaller:
    """Stands for the user where an API key speaks."""

    is_authenticated = True
    is_active = True
    is_staff = False

    def __init__(self, key: ApiKey) -> None:
        self.pk = f"api-key-{key.pk}"
        self.key = key

    def get_username(self) -> str:
        """The key's name."""
        return str(self.key)


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key cp_…`."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The caller and its key. Raises AuthenticationFailed, without saying which of the reasons it was."""
        scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != SCHEME:
            return None
        key = find_api_key(text.strip())
        if key is None:
            raise exceptions.AuthenticationFailed(
                "This API key is unknown, expired or revoked.", code="invalid_api_key"
            )
        return MachineCaller(key), key

    def authenticate_header(self, request: Request) -> str:
        """What a 401 tells the caller to send."""
        return 'Api-Key realm="controlplane"'


class StaffSessionAuthentication(SessionAuthentication):
    """The admin's session: staff only, and with a CSRF token on everything that writes."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The signed-in member of staff, or None. Raises PermissionDenied without a valid CSRF token."""
        if "HTTP_COOKIE" not in request.META:
            return None
        found = super().authenticate(request)
        return found if found and found[0].is_staff else None

    def enforce_csrf(self, request: Request) -> None:
        """Raises PermissionDenied unless a write carries the session's CSRF token."""
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied as error:
            raise exceptions.PermissionDenied(str(error.detail), code="csrf_failed") from error
