"""Signing in: the password, then the code of those who have an app. Nobody is half signed in: until the last step
the session knows a number and no user."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters

from controlplane.door import factors, lockout, sessions
from controlplane.door.forms import CodeForm, SignInForm
from tenants.callers import source_of

PENDING = "door.pending"
PENDING_SECONDS = 300


class SignInView(LoginView):
    """Django's, with a second step."""

    authentication_form = SignInForm
    template_name = "admin/login.html"

    def form_valid(self, form: Any) -> HttpResponse:
        """In, or on to the code."""
        user, next_page = form.get_user(), self.get_success_url()
        if not factors.is_enrolled(user):
            return let_in(self.request, user, next_page, factor=False)
        self.request.session.cycle_key()
        self.request.session[PENDING] = {
            "user": user.pk,
            "backend": user.backend,
            "hash": user.get_session_auth_hash(),
            "at": time.time(),
            "next": next_page,
        }
        self.request.session.set_expiry(PENDING_SECONDS)
        return HttpResponseRedirect(reverse("admin:login_code"))

    def get_default_redirect_url(self) -> str:
        """The fleet."""
        return reverse("admin:index")


def let_in(request: HttpRequest, user: Any, next_page: str, *, factor: bool) -> HttpResponse:
    """Sign in who has shown everything; their earlier failures from this address are forgotten."""
    lockout.forget(user.get_username(), source=source_of(request))
    sessions.begin(request, user, factor=factor)
    return HttpResponseRedirect(next_page)


def _pending(request: HttpRequest) -> tuple[Any, str] | None:
    """Who has shown a password a moment ago, and where they want to go. A password changed since is none."""
    found = request.session.get(PENDING)
    if not found or not 0 <= time.time() - found["at"] <= PENDING_SECONDS:
        return None
    user = get_user_model()._default_manager.filter(pk=found["user"], is_active=True, is_staff=True).first()
    if user is None or not constant_time_compare(found["hash"], user.get_session_auth_hash()):
        return None
    user.backend = found["backend"]
    return user, found["next"]


@sensitive_post_parameters("code")
@csrf_protect
@never_cache
def code_view(request: HttpRequest, site: Any) -> HttpResponse:
    """The second step."""
    pending = _pending(request)
    if pending is None:
        request.session.pop(PENDING, None)
        return HttpResponseRedirect(reverse("admin:login"))
    user, next_page = pending
    form = CodeForm(request.POST if request.method == "POST" else None, request=request, user=user)
    if request.method == "POST" and form.is_valid():
        del request.session[PENDING]
        return let_in(request, user, next_page, factor=True)
    context = {**site.each_context(request), "form": form, "title": "Code"}
    return TemplateResponse(request, "door/code.html", context)


def sign_in(request: HttpRequest, site: Any, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """The login page, as Django's admin site has it."""
    if request.method == "GET" and site.has_permission(request):
        return HttpResponseRedirect(reverse("admin:index"))
    request.current_app = site.name
    context = {
        **site.each_context(request),
        "title": "Log in",
        "subtitle": None,
        "app_path": request.get_full_path(),
        "username": request.user.get_username(),
        "idle_minutes": settings.SESSION_IDLE_SECONDS // 60,
        **(extra_context or {}),
    }
    return SignInView.as_view(extra_context=context)(request)  # type: ignore[return-value]
