"""The door's addresses in the admin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from django.http import HttpResponse
from django.urls import URLPattern, path

from controlplane.door import sign_in, views

View = Callable[..., HttpResponse]


def door_urls(site: Any) -> list[URLPattern]:
    """Pages for people who are signed in, and the one for those who nearly are."""

    def page(route: str, view: View, name: str) -> URLPattern:
        return path(route, site.admin_view(update_wrapper(partial(view, site=site), view)), name=name)

    return [
        path("login/code/", partial(sign_in.code_view, site=site), name="login_code"),
        page("confirm/", views.confirm_view, "confirm"),
        page("security/", views.security_view, "security"),
        page("security/factor/", views.second_factor_view, "second_factor"),
        page("security/codes/", views.codes_view, "recovery_codes"),
        page("security/remove/", views.remove_view, "remove_factor"),
        page("security/sessions/", views.end_sessions_view, "end_sessions"),
    ]
