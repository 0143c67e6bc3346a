"""What browsers are told not to do. Nothing inline runs anywhere, and nothing comes from another host.

The admin's pages may compile strings (`unsafe-eval`), and only they: Alpine.js, which unfold is made with, turns its
attributes into functions. Style *attributes* are allowed where pages are drawn; style elements are not.
"""

from __future__ import annotations

from collections.abc import Callable

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.http import HttpRequest, HttpResponse

CONTENT_SECURITY_POLICY: dict[str, list[str]] = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [SELF],
    "style-src-attr": [UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
    "font-src": [SELF],
    "connect-src": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
    "base-uri": [NONE],
    "object-src": [NONE],
}
ADMIN_PATH = "/admin/"
ADMIN_UPDATE = {"script-src": [UNSAFE_EVAL]}
NO_FEATURES = (
    "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
    "magnetometer=(), microphone=(), midi=(), payment=(), publickey-credentials-get=(), usb=(), xr-spatial-tracking=()"
)


class HeadersMiddleware:
    """The headers that neither Django nor django-csp sets, on every answer, static files included."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer with its headers."""
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", NO_FEATURES)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("X-Permitted-Cross-Domain-Policies", "none")
        return response


class AdminPolicyMiddleware:
    """Lets the admin's pages, and no others, compile the attributes that they are made of."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer, marked for django-csp, which comes after."""
        response = self.get_response(request)
        if request.path.startswith(ADMIN_PATH):
            response._csp_update = ADMIN_UPDATE  # type: ignore[attr-defined]
        return response
