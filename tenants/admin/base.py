"""What our admin classes share. Services change things; the admin only asks for it, so nothing here saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin

View = Callable[..., HttpResponse]


def require(request: HttpRequest, *permissions: str) -> None:
    """Raise PermissionDenied unless the signed-in person has all of these (`app.codename`)."""
    if not request.user.has_perms(permissions):
        raise PermissionDenied(f"Needs {', '.join(permissions)}.")


class ControlPlaneAdmin(ModelAdmin):
    """Lists by Django, pages of our own, no deletion.

    Deleting a row is never what deleting means here; the acts that are meant have services and pages.
    """

    list_per_page = 50
    compressed_fields = True
    warn_unsaved_form = False
    # What to do when the list is empty.
    empty_hint = ""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes rows."""
        return False

    def pages(self) -> list[tuple[str, View, str]]:
        """Further pages of this model: route, view, name."""
        return []

    def get_urls(self) -> list[URLPattern]:
        """Django's pages, and ours before them."""
        meta = self.opts
        ours = [
            path(route, self.admin_site.admin_view(view), name=f"{meta.app_label}_{meta.model_name}_{name}")
            for route, view, name in self.pages()
        ]
        return ours + list(super().get_urls())

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The audit log is the history."""
        raise Http404

    def find(self, request: HttpRequest, object_id: Any) -> Any:
        """The object of a page. Raises Http404, or PermissionDenied for whom may not see it."""
        found = self.get_object(request, str(object_id))
        if not self.has_view_or_change_permission(request, found):
            raise PermissionDenied(f"Needs {self.opts.app_label}.view_{self.opts.model_name}.")
        if found is None:
            raise Http404
        return found

    def page(
        self, request: HttpRequest, template: str, *, title: str, obj: Model | None = None, **context: Any
    ) -> TemplateResponse:
        """A page in the admin's frame."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            template,
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": title,
                "original": obj,
                "object": obj,
                "media": self.media,
                "list_name": f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist",
                "detail_name": f"admin:{self.opts.app_label}_{self.opts.model_name}_change",
                **context,
            },
        )


class ReadOnlyAdmin(ControlPlaneAdmin):
    """Something that people look at and only services write."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds one by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes one by hand."""
        return False
