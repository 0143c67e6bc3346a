"""One's own pages: confirming who one is, the second factor, recovery codes, sessions."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import mark_safe
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from controlplane.door import factors, lockout, sessions
from controlplane.door.forms import CodeForm, ConfirmForm
from tenants import audit, secrets
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.recent import ask_first, is_recent, note_confirmed

CANDIDATE = "door.candidate"


def _page(request: HttpRequest, site: Any, template: str, title: str, **context: Any) -> HttpResponse:
    request.current_app = site.name
    return TemplateResponse(request, template, {**site.each_context(request), "title": title, **context})


def _caller(request: HttpRequest) -> dict[str, Any]:
    return {"actor": actor_of(request), "source": source_of(request)}


def _next(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    here = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if here and wanted.startswith("/") else reverse("admin:index")


@sensitive_post_parameters("password", "code")
def confirm_view(request: HttpRequest, site: Any) -> HttpResponse:
    """Ask for the password (and code) again, then go on to where the person was."""
    back = _next(request)
    if request.method == "GET" and is_recent(request):
        return HttpResponseRedirect(back)
    form = ConfirmForm(request.POST if request.method == "POST" else None, request=request)
    if request.method == "POST" and form.is_valid():
        lockout.forget(request.user.get_username(), source=source_of(request))
        note_confirmed(request.session)
        audit.record("session.confirm", target=request.user, **_caller(request))
        return HttpResponseRedirect(back)
    return _page(request, site, "door/confirm.html", "Confirm that it is you", form=form, next=back)


def security_view(request: HttpRequest, site: Any) -> HttpResponse:
    """What protects one's account, and where it is in use."""
    return _page(
        request, site, "door/security.html", "Sign-in security", enrolled=factors.is_enrolled(request.user),
        required=factors.is_required(request.user), records=sessions.living(request.user),
        codes_left=request.user.recovery_codes.filter(used_at=None).count(),  # type: ignore[union-attr]
        here=request.session.session_key,
    )  # fmt: skip


@sensitive_post_parameters("code")
def second_factor_view(request: HttpRequest, site: Any) -> HttpResponse:
    """Set an app up, or another in its place: QR code, then a code as proof, then the recovery codes."""
    if asked := ask_first(request):
        return asked
    token = request.session.get(CANDIDATE)
    if request.method != "POST" or not token:
        token = request.session[CANDIDATE] = secrets.encrypt(factors.new_secret())
    secret = secrets.decrypt(token)
    form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            codes = factors.enrol(user=request.user, secret=secret, code=form.cleaned_data["code"], **_caller(request))
        except ControlPlaneError as error:
            form.add_error("code", error.message)
        else:
            del request.session[CANDIDATE]
            request.session[sessions.FACTOR] = True
            _end_others(request, "A second factor was set up.")
            return _page(request, site, "door/codes.html", "Recovery codes", codes=codes)
    # Drawn by us from what we made: no text of anybody else is in it.
    drawing = mark_safe(factors.qr_code(request.user, secret))  # noqa: S308
    shown = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
    return _page(request, site, "door/second_factor.html", "Second factor", form=form, drawing=drawing, secret=shown,
                 required=factors.is_required(request.user))  # fmt: skip


def _end_others(request: HttpRequest, reason: str) -> int:
    return sessions.end_all(user=request.user, keep=request.session.session_key, reason=reason, **_caller(request))


@require_POST
def codes_view(request: HttpRequest, site: Any) -> HttpResponse:
    """New recovery codes, shown once."""
    if asked := ask_first(request, back=reverse("admin:security")):
        return asked
    try:
        codes = factors.renew_codes(user=request.user, **_caller(request))
    except ControlPlaneError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:security"))
    return _page(request, site, "door/codes.html", "Recovery codes", codes=codes)


@require_POST
def remove_view(request: HttpRequest, site: Any) -> HttpResponse:
    """Take one's second factor away, where nothing asks for it."""
    page = HttpResponseRedirect(reverse("admin:security"))
    if asked := ask_first(request, back=page.url):
        return asked
    if factors.is_required(request.user):
        messages.error(request, "Your group must have a second factor; set up another app instead.")
        return page
    try:
        factors.remove(user=request.user, **_caller(request))
    except ControlPlaneError as error:
        messages.error(request, str(error))
        return page
    request.session[sessions.FACTOR] = False
    _end_others(request, "The second factor was removed.")
    messages.success(request, "From now on your password alone lets you in.")
    return page


@require_POST
def end_sessions_view(request: HttpRequest, site: Any) -> HttpResponse:
    """Sign out of one other session, of all others, or everywhere."""
    page, which = HttpResponseRedirect(reverse("admin:security")), request.POST.get("which", "")
    if which == "everywhere":
        sessions.end_all(user=request.user, reason="Signed out everywhere.", **_caller(request))
        request.session.flush()
        return HttpResponseRedirect(reverse("admin:login"))
    if which.isdecimal() and len(which) < 19:
        count = sessions.end_all(user=request.user, only=int(which), **_caller(request))
    else:
        count = _end_others(request, "Signed out everywhere else.")
    messages.success(request, f"{count} session{'s' * (count != 1)} ended.")
    return page
