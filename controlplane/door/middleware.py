"""At each request with a session: is it too old, and does the person still owe a second factor?"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from controlplane.door import factors, sessions
from controlplane.headers import ADMIN_PATH
from tenants.exceptions import PermissionRefused

# What somebody may open who has to set up a second factor first.
_OPEN = ("admin:second_factor", "admin:logout", "admin:login", "admin:colours", "admin:jsi18n", "admin:confirm")


class DoorMiddleware:
    """Ends sessions past their time, and those that lack a factor their owner has; sends people who must enrol to
    the page where they do. It acts on cookies, so API keys never pay for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer, or the way to enrolment."""
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            why = sessions.is_over(request) or self._lacks_factor(request)
            if why:
                sessions.expire(request, why)
            elif self._must_enrol(request):
                return self._enrol_first(request)
        return self.get_response(request)

    def _lacks_factor(self, request: HttpRequest) -> str:
        has = request.session.get(sessions.FACTOR)
        return "factor" if not has and factors.is_enrolled(request.user) else ""

    def _must_enrol(self, request: HttpRequest) -> bool:
        if request.session.get(sessions.FACTOR) or request.path.startswith(settings.STATIC_URL):
            return False
        return factors.is_required(request.user) and request.path not in {reverse(name) for name in _OPEN}

    def _enrol_first(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(ADMIN_PATH):
            from controlplane.problems import problem_for

            refused = PermissionRefused("Set up your second factor in the admin first.", code="second_factor_required")
            answer = problem_for(request, refused)
            return answer if answer is not None else HttpResponse(status=403)
        page = reverse("admin:second_factor")
        if request.headers.get("HX-Request"):
            return HttpResponse(headers={"HX-Redirect": page})
        return HttpResponseRedirect(page)
