"""A cluster's pooler, on the cluster's pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from tenants import pooling
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.forms import PageForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError, NotFound
from tenants.hardening.prepare import superuser_dsn
from tenants.models import Cluster, Pooler
from tenants.recent import ask_first

_PORT = [MinValueValidator(1), MaxValueValidator(65_535)]
POOLS_SHOWN = 20


class PoolerForm(PageForm):
    """Where it is, and how to get in. The password is encrypted and never shown again."""

    host = forms.CharField(max_length=255, help_text="What tenants will be told to connect to.")
    port = forms.IntegerField(initial=6432, validators=_PORT)
    password = forms.CharField(
        strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), help_text="Of cp_pooler."
    )
    config_path = forms.CharField(
        required=False, max_length=500, help_text="The file it includes, for workers to write; empty: you keep it."
    )
    log_path = forms.CharField(
        required=False, max_length=500, label="Log", help_text="PgBouncer's own, when this machine can read it."
    )
    server_host = forms.CharField(
        required=False, max_length=255, help_text="How it reaches the server, when not as the control plane does."
    )
    server_port = forms.IntegerField(required=False, validators=_PORT)


def pooler_of(cluster: Cluster) -> Pooler | None:
    """The cluster's pooler, if there is one."""
    return Pooler.objects.select_related("cluster").filter(cluster=cluster).first()


def busiest_pools(pooler: Pooler | None) -> list[pooling.Pool]:
    """Its pools now, those that keep clients waiting first; none while it is down."""
    if pooler is None or pooler.state != Pooler.State.UP:
        return []
    try:
        pools = pooling.read_traffic(pooler).pools
    except ControlPlaneError:
        return []  # the next check notes why
    return sorted(pools, key=lambda pool: (-pool.max_wait_seconds, -pool.servers_active))[:POOLS_SHOWN]


class DirectForm(PageForm):
    """Whether tenants may come past the pooler."""

    door = forms.ChoiceField(
        choices=Pooler.Door.choices, label="The server itself, to tenants",
        help_text="Closed: the lines below stand first in its pg_hba.conf.",
    )  # fmt: skip
    superuser_url = forms.CharField(
        required=False,
        label="Superuser's connection string",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="For a server on this machine: the lines are put there now. It is kept nowhere. Empty: you do that.",
    )


class PoolerPages(ControlPlaneAdmin):
    """Registering and removing; checking is the cluster's."""

    def pooler_pages(self) -> list[tuple[str, View, str]]:
        """Their routes."""
        return [
            ("<int:object_id>/pooler/", self.pooler_view, "pooler"),
            ("<int:object_id>/pooler/remove/", self.remove_pooler_view, "pooler_remove"),
            ("<int:object_id>/direct/", self.direct_view, "direct"),
        ]

    @method_decorator(sensitive_post_parameters("password"))
    def pooler_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Put a pooler in front: it is logged in to and tried, or refused with the reason."""
        require(request, "tenants.change_cluster")
        cluster = self.find(request, object_id)

        def perform(data: dict[str, Any]) -> HttpResponse:
            pooler = pooling.register_pooler(
                cluster=cluster, **data, actor=actor_of(request), source=source_of(request)
            )
            messages.success(request, f"Tenants of {cluster} connect to {pooler} now (PgBouncer {pooler.version}).")
            return HttpResponseRedirect(reverse("admin:tenants_cluster_change", args=[cluster.pk]))

        return form_page(
            self, request, PoolerForm, perform, title="Register pooler", submit="Connect and register", obj=cluster,
            confirm=True,
            intro="PgBouncer is logged in to and its way to the server tried now; nothing is kept when that fails.",
        )  # fmt: skip

    @method_decorator(sensitive_post_parameters("superuser_url"))
    def direct_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Close the server's own door to tenants, or open it."""
        require(request, "tenants.change_cluster")
        cluster = self.find(request, object_id)
        pooler = pooler_of(cluster)
        if pooler is None:
            raise Http404

        def perform(data: dict[str, Any]) -> HttpResponse:
            superuser = superuser_dsn(data["superuser_url"], cluster) if data["superuser_url"] else None
            answer = pooling.set_direct(
                pooler=pooler, door=data["door"], superuser=superuser,
                actor=actor_of(request), source=source_of(request),
            )  # fmt: skip
            found = answer.pooler.direct_found or "not known, without a tenant to try it with"
            messages.success(request, f"Wanted: {data['door']}. Found by a try: {found}.")
            return HttpResponseRedirect(reverse("admin:tenants_cluster_change", args=[cluster.pk]))

        return form_page(
            self, request, DirectForm, perform, title="Direct access", submit="Save", obj=cluster,
            confirm=True,
            initial={"door": pooler.direct_wanted},
            intro=f"First in the server's pg_hba.conf while it is closed: {pooling.advice(pooler)}",
            lines=pooling.hba_lines(pooler).splitlines(),
        )  # fmt: skip

    def remove_pooler_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Take it away again."""
        require(request, "tenants.change_cluster")
        cluster = self.find(request, object_id)
        page = reverse("admin:tenants_cluster_change", args=[cluster.pk])
        if request.method == "POST":
            if asked := ask_first(request, back=page):
                return asked
            pooler = pooler_of(cluster)
            if pooler is None:
                raise NotFound(f"{cluster} has no pooler.")
            pooling.remove_pooler(pooler=pooler, actor=actor_of(request), source=source_of(request))
            messages.success(request, f"Tenants of {cluster} are told the server's address again.")
        return HttpResponseRedirect(reverse("admin:tenants_cluster_change", args=[cluster.pk]))
