"""The boards' pages, their fragments for the refresh, and their charts as JSON. Each asks for its permission."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from controlplane.boards import cluster as cluster_board
from controlplane.boards import fleet as fleet_board
from controlplane.boards import tenant as tenant_board
from controlplane.boards.alerts import firing
from controlplane.boards.charts import Plot, milliseconds
from monitoring.alerts.handling import acknowledge, get_alert
from monitoring.health import tenant_health
from monitoring.history import SPANS, Span, span_of
from monitoring.probes import worst_statements
from tenants.admin.base import require
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError, NotFound
from tenants.models import Cluster, Tenant

REFRESH_SECONDS = 30
FLEET = ("tenants.view_tenant", "tenants.view_operation", "tenants.view_cluster")


def frame(request: HttpRequest, plots: tuple[Plot, ...], charts_url: str) -> dict[str, Any]:
    """What a page needs to draw its charts' frames; the script asks `charts_url` for the figures."""
    span = span_of(request.GET.get("span"))
    return {
        "plots": plots,
        "charts_url": f"{charts_url}?span={span.name}",
        "chosen": span,
        "spans": list(SPANS.values()),
        "refresh_seconds": REFRESH_SECONDS,
    }


def _answer(span: Span, charts: dict[str, Any]) -> JsonResponse:
    answer = JsonResponse({"span": span.name, "at": milliseconds(timezone.now()), "charts": charts})
    answer["Cache-Control"] = "no-store"
    return answer


@require_safe
def fleet_charts(request: HttpRequest) -> HttpResponse:
    """The fleet's charts."""
    require(request, *FLEET)
    span = span_of(request.GET.get("span"))
    return _answer(span, fleet_board.draw(span))


def _cluster(request: HttpRequest, cluster_id: int) -> Cluster:
    require(request, "tenants.view_cluster", "tenants.view_tenant")
    found = Cluster.objects.select_related("host_cluster").filter(pk=cluster_id).first()
    if found is None:
        raise Http404
    return found.server


def _tenant(request: HttpRequest, tenant_id: UUID) -> Tenant:
    require(request, "tenants.view_tenant")
    found = Tenant.objects.select_related("cluster__host_cluster", "plan").filter(pk=tenant_id).first()
    if found is None:
        raise Http404
    return found


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    request.current_app = admin.site.name
    return TemplateResponse(request, template, {**admin.site.each_context(request), "title": title, **context})


@require_safe
def cluster_page(request: HttpRequest, cluster_id: int) -> HttpResponse:
    """A cluster: figures, probes, tenants, charts."""
    cluster = _cluster(request, cluster_id)
    charts_url = reverse("admin:board_cluster_charts", args=[cluster.pk])
    return _page(
        request, "controlplane/boards/cluster.html", f"{cluster.name}: monitoring",
        alerts=firing(request, cluster=cluster), **cluster_board.context(cluster),
        **frame(request, cluster_board.PLOTS, charts_url),
    )  # fmt: skip


@require_safe
def cluster_figures(request: HttpRequest, cluster_id: int) -> HttpResponse:
    """The same without frame and charts, for the refresh."""
    cluster = _cluster(request, cluster_id)
    context = {
        **cluster_board.context(cluster),
        "alerts": firing(request, cluster=cluster),
        "refresh_seconds": REFRESH_SECONDS,
    }
    return render(request, "controlplane/boards/cluster_figures.html", context)


@require_safe
def cluster_charts(request: HttpRequest, cluster_id: int) -> HttpResponse:
    """A cluster's charts."""
    cluster, span = _cluster(request, cluster_id), span_of(request.GET.get("span"))
    return _answer(span, cluster_board.draw(cluster, span))


@require_safe
def tenant_page(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """A tenant: figures and charts."""
    tenant = _tenant(request, tenant_id)
    charts_url = reverse("admin:board_tenant_charts", args=[tenant.pk])
    return _page(
        request, "controlplane/boards/tenant.html", f"{tenant.name}: monitoring",
        alerts=firing(request, tenant=tenant), **tenant_board.context(tenant),
        **frame(request, tenant_board.PLOTS, charts_url),
    )  # fmt: skip


@require_safe
def tenant_figures(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """The same without frame and charts, for the refresh."""
    tenant = _tenant(request, tenant_id)
    context = {
        **tenant_board.context(tenant),
        "alerts": firing(request, tenant=tenant),
        "refresh_seconds": REFRESH_SECONDS,
    }
    return render(request, "controlplane/boards/tenant_figures.html", context)


@require_safe
def tenant_charts(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """A tenant's charts."""
    tenant, span = _tenant(request, tenant_id), span_of(request.GET.get("span"))
    return _answer(span, tenant_board.draw(tenant, span))


@require_safe
def tenant_summary(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """A few lines for the tenant's own page."""
    tenant = _tenant(request, tenant_id)
    context = {
        "tenant": tenant, "sparklines": tenant_board.sparklines(tenant), "health": tenant_health(tenant=tenant),
        "refresh_seconds": REFRESH_SECONDS,
    }  # fmt: skip
    return render(request, "controlplane/boards/tenant_summary.html", context)


@require_safe
def tenant_statements(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """A tenant's worst statements, asked of its server now; that it does not answer is said, too."""
    tenant = _tenant(request, tenant_id)
    context: dict[str, Any] = {"tenant": tenant, "at": timezone.localtime()}
    try:
        context["statements"] = worst_statements(tenant)
    except ControlPlaneError as error:
        context["error"] = str(error)
    return render(request, "controlplane/boards/tenant_statements.html", context)


@require_safe
def cluster_summary(request: HttpRequest, cluster_id: int) -> HttpResponse:
    """A few figures for the cluster's own page."""
    cluster = _cluster(request, cluster_id)
    context = {
        "cluster": cluster, "looks": cluster_board.figures(cluster), "probes": cluster_board.probes(cluster),
        "refresh_seconds": REFRESH_SECONDS,
    }  # fmt: skip
    return render(request, "controlplane/boards/cluster_summary.html", context)


@require_POST
def acknowledge_view(request: HttpRequest, alert_id: int) -> HttpResponse:
    """Say that one looks after an alert; then back to the board."""
    require(request, "monitoring.view_alert", "monitoring.acknowledge_alert")
    try:
        done = acknowledge(alert=get_alert(alert_id), actor=actor_of(request), source=source_of(request))
        messages.success(request, f"You look after it: {done}.")
    except NotFound as error:
        raise Http404 from error
    except ControlPlaneError as error:
        messages.warning(request, str(error))
    return HttpResponseRedirect(_back(request))


def _back(request: HttpRequest) -> str:
    """The board the form stood on, over the span of time that was looked at, which only the page's address has."""
    board, page = request.POST.get("next") or "", request.headers.get("Referer", "")
    for back in (page, board) if urlsplit(page).path == board else (board,):
        if url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
            return back
    return reverse("admin:index")


def board_urls(site: Any) -> list[Any]:
    """Addresses of the boards, below the admin's."""
    views = (
        ("fleet/charts/", fleet_charts, "fleet_charts"),
        ("boards/alerts/<int:alert_id>/acknowledge/", acknowledge_view, "board_acknowledge"),
        ("boards/cluster/<int:cluster_id>/", cluster_page, "board_cluster"),
        ("boards/cluster/<int:cluster_id>/figures/", cluster_figures, "board_cluster_figures"),
        ("boards/cluster/<int:cluster_id>/charts/", cluster_charts, "board_cluster_charts"),
        ("boards/cluster/<int:cluster_id>/summary/", cluster_summary, "board_cluster_summary"),
        ("boards/tenant/<uuid:tenant_id>/", tenant_page, "board_tenant"),
        ("boards/tenant/<uuid:tenant_id>/figures/", tenant_figures, "board_tenant_figures"),
        ("boards/tenant/<uuid:tenant_id>/charts/", tenant_charts, "board_tenant_charts"),
        ("boards/tenant/<uuid:tenant_id>/statements/", tenant_statements, "board_tenant_statements"),
        ("boards/tenant/<uuid:tenant_id>/summary/", tenant_summary, "board_tenant_summary"),
    )
    return [path(route, site.admin_view(view), name=name) for route, view, name in views]
