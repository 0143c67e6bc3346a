"""Templates and their versions, to look at; and filling the pools."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from provisioning import pool
from provisioning.models import Template, TemplateVersion
from provisioning.tasks import fill_pools
from tenants import audit
from tenants.admin.base import ReadOnlyAdmin, View, require
from tenants.admin.display import link_to, moment, pretty_json
from tenants.callers import actor_of, source_of
from tenants.models import Tenant


def _size(version: TemplateVersion) -> str:
    """The largest things it is made of: `46 tables, 120 indexes`."""
    shown = [key for key in ("tables", "indexes", "views", "functions", "rows") if version.size.get(key)]
    return ", ".join(f"{version.size[key]} {key}" for key in shown) or "–"


@admin.register(Template)
class TemplateAdmin(ReadOnlyAdmin):
    """What tenants are copies of. Templates are imported by `manage.py import_template`."""

    empty_hint = "Import a template: manage.py import_template NAME --sql DIR"
    list_display = ("name", "is_default", "description", "newest", "tenant_count", "created")
    search_fields = ("name", "description")

    def pages(self) -> list[tuple[str, View, str]]:
        """Filling its pools."""
        return [("<int:object_id>/fill/", self.fill_view, "fill")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Template]:
        """With its newest version's number and how many tenants have it."""
        tenants = (
            Tenant.objects.filter(template=OuterRef("name"))
            .exclude(state=Tenant.State.PURGED)
            .order_by()
            .values("template")
            .annotate(count=Count("pk"))
            .values("count")
        )
        return (
            super()
            .get_queryset(request)
            .annotate(newest_number=Max("versions__number"), living=Coalesce(Subquery(tenants), 0))
        )

    @display(description="newest", ordering="newest_number")
    def newest(self, template: Any) -> str:
        """Its newest version, which new tenants get."""
        return f"v{template.newest_number}" if template.newest_number else "–"

    @display(description="tenants", ordering="living")
    def tenant_count(self, template: Any) -> int:
        """Those that are not purged."""
        return int(template.living)

    @display(description="created", ordering="created_at")
    def created(self, template: Template) -> Any:
        """How long ago."""
        return moment(template.created_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A template: its versions, and how full its pools are."""
        template = self.find(request, object_id)
        ready = Count("slots", filter=Q(slots__state="ready"))
        used = Count("slots", filter=Q(slots__state="claimed"))
        versions = template.versions.defer("script").annotate(ready=ready, used=used).order_by("-number")
        return self.page(
            request, "provisioning/admin/template.html", title=template.name, obj=template,
            versions=[(version, _size(version)) for version in versions],
            levels=[level for level in pool.levels() if level.version.template_id == template.pk],
            tenant_count=template.living,
        )  # fmt: skip

    def fill_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Have the workers fill the pools now. Beat does it anyway, a little later."""
        require(request, "provisioning.fill_pool")
        template = self.find(request, object_id)
        page = HttpResponseRedirect(reverse("admin:provisioning_template_change", args=[template.pk]))
        if request.method == "POST":
            audit.record("pool.fill", actor=actor_of(request), source=source_of(request), target=template)
            try:
                fill_pools.apply_async(retry=False)
                messages.success(request, "The workers fill the pools, one slot at a time.")
            except Exception as error:  # the broker may be down; beat tries again
                messages.error(request, f"The workers could not be asked ({type(error).__name__}). Is Redis running?")
        return page


@admin.register(TemplateVersion)
class TemplateVersionAdmin(ReadOnlyAdmin):
    """Immutable compiled forms of templates."""

    empty_hint = "Import a template: manage.py import_template NAME --sql DIR"
    list_display = ("name", "size_text", "compiled", "fingerprint_majors", "created")
    list_filter = ("template",)
    list_select_related = ("template",)
    search_fields = ("template__name",)
    fields = (
        "template_link",
        "number",
        "source",
        "compiled",
        "created_at",
        "size_json",
        "fingerprint_json",
        "extension_json",
        "timeseries_json",
        "note_json",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[TemplateVersion]:
        """Without the script, which is long."""
        return super().get_queryset(request).defer("script")

    @display(description="version", ordering="template__name")
    def name(self, version: TemplateVersion) -> str:
        """Template and number."""
        return str(version)

    @display(description="size")
    def size_text(self, version: TemplateVersion) -> str:
        """In short."""
        return _size(version)

    @display(description="compiled on")
    def compiled(self, version: TemplateVersion) -> str:
        """The PostgreSQL it was compiled with."""
        return f"PostgreSQL {version.compiled_on // 10000}.{version.compiled_on % 10000}"

    @display(description="proved on")
    def fingerprint_majors(self, version: TemplateVersion) -> str:
        """The majors for which it is known what a true clone hashes to."""
        return ", ".join(sorted(version.fingerprints)) or "–"

    @display(description="created", ordering="created_at")
    def created(self, version: TemplateVersion) -> Any:
        """How long ago."""
        return moment(version.created_at)

    @display(description="template")
    def template_link(self, version: TemplateVersion) -> Any:
        """What it is a version of."""
        return link_to(version.template)

    @display(description="size")
    def size_json(self, version: TemplateVersion) -> Any:
        """Everything it is made of."""
        return pretty_json(version.size)

    @display(description="fingerprints")
    def fingerprint_json(self, version: TemplateVersion) -> Any:
        """By PostgreSQL major."""
        return pretty_json(version.fingerprints)

    @display(description="extensions")
    def extension_json(self, version: TemplateVersion) -> Any:
        """What it needs."""
        return pretty_json(version.extensions)

    @display(description="time series")
    def timeseries_json(self, version: TemplateVersion) -> Any:
        """Tables that are partitioned by time."""
        return pretty_json(version.timeseries)

    @display(description="notes")
    def note_json(self, version: TemplateVersion) -> Any:
        """What the import remarked."""
        return pretty_json(version.notes)
