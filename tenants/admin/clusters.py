"""Clusters: registered by connecting to them, looked at, changed where they can be."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display

from tenants import audit, clusters, pooling
from tenants.admin.base import View, require
from tenants.admin.display import STATE_LABELS, moment
from tenants.admin.forms import PageForm, form_page
from tenants.admin.poolers import PoolerPages, busiest_pools, pooler_of
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.hardening.levels import ORDER, STAYS_OPEN, Level
from tenants.hardening.prepare import prepare_cluster
from tenants.models import AuditEvent, Cluster, LogWatch, Reaper, Tenant

_PORT = [MinValueValidator(1), MaxValueValidator(65_535)]
SHOWN_FINDINGS = 10


class ClusterForm(PageForm):
    """What may be changed of a registered cluster."""

    description = forms.CharField(required=False, max_length=200)
    state = forms.ChoiceField(
        choices=Cluster.State.choices, help_text="A disabled cluster keeps its tenants and takes no new ones."
    )
    public_host = forms.CharField(
        required=False, max_length=255, help_text="What tenants connect to, when it is another (a pooler, a proxy)."
    )
    public_port = forms.IntegerField(required=False, validators=_PORT)
    pool_target = forms.IntegerField(
        min_value=0, max_value=10_000, initial=10, help_text="Warm slots kept ready for the default template."
    )
    max_parallel = forms.IntegerField(
        min_value=1, max_value=64, initial=4, help_text="Schemas cloned at the same time, at most."
    )
    log_path = forms.CharField(
        required=False, max_length=500, label="Log directory",
        help_text="Of the server's JSON log, when it is on this machine and shall not be read over SQL.",
    )  # fmt: skip
    dedicated = forms.BooleanField(
        required=False,
        label="Reserved",
        help_text="For one tenant, on a plan of the tier cluster. It can be changed while nobody lives here.",
    )


class NewClusterForm(PageForm):
    """Where it is, and how to get in. The password is encrypted and never shown again."""

    name = forms.SlugField(max_length=40)
    host = forms.CharField(max_length=255)
    port = forms.IntegerField(initial=5432, validators=_PORT)
    dbname = forms.CharField(max_length=63, label="Database")
    username = forms.CharField(max_length=63, help_text="Needs LOGIN, CREATEROLE, and CREATE on the database.")
    password = forms.CharField(
        strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), help_text="Kept encrypted."
    )
    sslmode = forms.ChoiceField(choices=[(mode, mode) for mode in clusters.SSL_MODES], initial="prefer", label="TLS")
    pool_target = forms.IntegerField(min_value=0, max_value=10_000, initial=10, help_text="Warm slots kept ready.")
    max_parallel = forms.IntegerField(min_value=1, max_value=64, initial=4, help_text="Schemas cloned at a time.")
    dedicated = forms.BooleanField(
        required=False, label="Reserved", help_text="For one tenant, on a plan of the tier cluster."
    )


class PrepareForm(PageForm):
    """How far to close it. The superuser's connection string is used for this once and kept nowhere."""

    level = forms.ChoiceField(
        choices=[(str(level), str(level)) for level in ORDER[1:]],
        help_text="Sealed takes all introspection from tenants; lockdown leaves them their own table definitions.",
    )
    superuser_url = forms.CharField(
        required=False,
        strip=True,
        label="Superuser's connection string",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="postgres://USER:PASSWORD@HOST/… It is used now and kept nowhere.",
    )
    dry_run = forms.BooleanField(required=False, initial=True, help_text="Show the statements and change nothing.")


class KindFilter(admin.SimpleListFilter):
    """Registered clusters, unless tenants' own databases are asked for."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The others; registered ones are what is shown when nothing is chosen."""
        return [("reserved", "Reserved for one tenant"), ("databases", "Tenants' own databases")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Cluster]) -> QuerySet[Cluster]:
        """The page of a row is not a list: nothing is left out there."""
        if self.value() == "databases":
            return queryset.filter(host_cluster__isnull=False)
        registered = queryset.filter(host_cluster=None)
        return registered.filter(dedicated=True) if self.value() == "reserved" else registered


@admin.register(Cluster)
class ClusterAdmin(PoolerPages):
    """The servers that tenants live on."""

    empty_hint = "Register a PostgreSQL cluster, or run manage.py bootstrap for the default one."
    list_display = (
        "name",
        "state_badge",
        "health",
        "isolation",
        "address",
        "version",
        "tenant_count",
        "pool_target",
        "checked",
    )
    list_filter = (KindFilter, "state")
    search_fields = ("name", "host", "description")
    actions = None

    def pages(self) -> list[tuple[str, View, str]]:
        """Changing and checking."""
        return [
            ("<int:object_id>/edit/", self.edit_view, "edit"),
            ("<int:object_id>/check/", self.check_view, "check"),
            ("<int:object_id>/prepare/", self.prepare_view, "prepare"),
            *self.pooler_pages(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cluster]:
        """With the number of tenants that live there, in a database of their own on its server too."""
        living = Count("tenants", filter=~Q(tenants__state=Tenant.State.PURGED), distinct=True)
        rows = super().get_queryset(request).select_related("host_cluster")
        return rows.annotate(living=living + Count("databases", distinct=True))

    @display(description="state", label=STATE_LABELS, ordering="state")
    def state_badge(self, cluster: Cluster) -> str:
        """The operator's choice."""
        return cluster.state

    @display(description="health", label={"well": "success", "failing": "danger", "not checked": "warning"})
    def health(self, cluster: Cluster) -> str:
        """What the last check found."""
        if cluster.last_error:
            return "failing"
        return "well" if cluster.checked_at else "not checked"

    @display(
        description="isolation",
        label={"open": "danger", "baseline": "warning", "lockdown": "success", "sealed": "success"},
    )
    def isolation(self, cluster: Cluster) -> str:
        """The level that the last check found."""
        return cluster.isolation_level or "–"

    @display(description="address")
    def address(self, cluster: Cluster) -> str:
        """Host, port and database; the default one's are the control plane's own."""
        dsn = cluster.dsn() if cluster.is_default or cluster.host_cluster else cluster
        return f"{dsn.host}:{dsn.port}/{dsn.dbname}"

    @display(description="PostgreSQL", ordering="server_version_num")
    def version(self, cluster: Cluster) -> str:
        """As people write it."""
        return cluster.server_version or "–"

    @display(description="tenants", ordering="living")
    def tenant_count(self, cluster: Any) -> int:
        """Those that are not purged."""
        return int(cluster.living)

    @display(description="checked", ordering="checked_at")
    def checked(self, cluster: Cluster) -> Any:
        """How long ago."""
        return moment(cluster.checked_at)

    @method_decorator(sensitive_post_parameters("password"))
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Register a cluster: it is connected to and prepared, or refused with the reason."""
        require(request, "tenants.add_cluster")

        def perform(data: dict[str, Any]) -> HttpResponse:
            cluster = clusters.register_cluster(**data, actor=actor_of(request), source=source_of(request))
            messages.success(request, f"{cluster} runs PostgreSQL {cluster.server_version} and can hold tenants.")
            return HttpResponseRedirect(_page_of(cluster))

        return form_page(
            self, request, NewClusterForm, perform, title="Register cluster", submit="Connect and register",
            error_fields={"name_taken": "name", "cluster_known": "dbname"},
            intro="The cluster is connected to, read and prepared now; nothing is kept when that fails.",
        )  # fmt: skip

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A cluster's page."""
        cluster = self.find(request, object_id)
        pooler = pooler_of(cluster)
        return self.page(
            request, "tenants/admin/cluster.html", title=cluster.name, obj=cluster, health=self.health(cluster),
            address=self.address(cluster), username=_username(cluster),
            extensions=sorted(cluster.extensions.items()), tenant_count=cluster.living,
            stays_open=STAYS_OPEN.get(Level(cluster.isolation_level)) if cluster.isolation_level else None,
            logins=cluster.logins.filter(ready=True), isolation=self.isolation(cluster),
            reaper=Reaper.objects.filter(cluster=cluster).first(), pooler=pooler, pools=busiest_pools(pooler),
            told="{}:{}".format(*cluster.public_address()), watch=LogWatch.objects.filter(cluster=cluster).first(),
            proof=cluster.isolation_checks.first(),
            findings=cluster.isolation_findings.filter(resolved_at=None).order_by("severity")[:SHOWN_FINDINGS],
        )  # fmt: skip

    def edit_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change what can be changed."""
        require(request, "tenants.change_cluster")
        cluster = self.find(request, object_id)
        initial = {field: getattr(cluster, field) for field in clusters.EDITABLE}

        def perform(data: dict[str, Any]) -> HttpResponse:
            changes = {field: value for field, value in data.items() if value != initial[field]}
            if changes:
                clusters.update_cluster(
                    cluster=cluster, changes=changes, actor=actor_of(request), source=source_of(request)
                )
                messages.success(request, f"Changed: {', '.join(changes)}.")
            return HttpResponseRedirect(_page_of(cluster))

        return form_page(
            self, request, ClusterForm, perform, title="Change cluster", submit="Save", obj=cluster, initial=initial
        )

    def check_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Read version and extensions again, now."""
        require(request, "tenants.check_cluster")
        cluster = self.find(request, object_id)
        if request.method == "POST":
            outcome = AuditEvent.Outcome.SUCCESS
            try:
                clusters.check_cluster(cluster)
                if pooler := pooler_of(cluster):
                    pooling.check_pooler(pooler)
                messages.success(request, f"{cluster} is well: PostgreSQL {cluster.server_version}.")
            except ControlPlaneError as error:
                outcome = AuditEvent.Outcome.FAILURE
                messages.error(request, str(error))
            audit.record(
                "cluster.check", actor=actor_of(request), source=source_of(request), target=cluster, outcome=outcome
            )
        return HttpResponseRedirect(_page_of(cluster))

    @method_decorator(sensitive_post_parameters("superuser_url"))
    def prepare_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Close the cluster up to a level, or show what that would do."""
        require(request, "tenants.prepare_cluster")
        cluster = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            done = prepare_cluster(cluster=cluster, actor=actor_of(request), source=source_of(request), **data)
            return self.page(
                request, "tenants/admin/prepared.html", title=f"Prepare {cluster.name}", obj=cluster, done=done
            )

        return form_page(
            self, request, PrepareForm, perform, title=f"Prepare {cluster.name}", submit="Prepare", obj=cluster,
            confirm=True,
            initial={"level": max(cluster.isolation_wanted, Level.LOCKDOWN, key=ORDER.index), "dry_run": True},
            intro="What is open to every login of the server is closed, up to the level, and kept open to the control "
            "plane's own logins. It can be repeated; nothing is ever opened by it.",
        )  # fmt: skip


def _username(cluster: Cluster) -> str:
    """The control plane's login there, without reading its password."""
    server = cluster.server
    return server.dsn().user if server.is_default else server.username


def _page_of(cluster: Cluster) -> str:
    return reverse("admin:tenants_cluster_change", args=[cluster.pk])
