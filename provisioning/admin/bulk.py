"""Suspending and resuming many tenants: asked first, then done one by one, with the result of each."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from provisioning.admin.acts import Act
from tenants.admin.base import ControlPlaneAdmin, require
from tenants.admin.forms import ReasonForm
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.models import Tenant

# They are done while the browser waits.
MAX_TENANTS = 100


def act(
    admin: ControlPlaneAdmin, request: HttpRequest, queryset: QuerySet[Tenant], what: Act, action: str
) -> HttpResponse | None:
    """The confirmation page, or after it the results. None (back to the list) when there are too many."""
    require(request, what.permission)
    tenants = list(queryset.select_related("plan", "cluster").order_by("slug")[: MAX_TENANTS + 1])
    if len(tenants) > MAX_TENANTS:
        messages.error(request, f"At most {MAX_TENANTS} tenants at a time: narrow the selection.")
        return None
    form = ReasonForm(request.POST if "confirmed" in request.POST else None)
    if form.is_bound and form.is_valid():
        results = [_one(request, tenant, what, form.cleaned_data["reason"]) for tenant in tenants]
        done = sum(well for _, well, _ in results)
        return admin.page(
            request, "provisioning/admin/bulk_result.html", title=f"{what.label}: {done} of {len(results)} done",
            results=results, act=what, count=done,
        )  # fmt: skip
    rows = [(tenant, tenant.state in what.states) for tenant in tenants]
    return admin.page(
        request, "provisioning/admin/bulk_confirm.html", title=f"{what.label} {len(tenants)} tenants", rows=rows,
        form=form, act=what, action=action, count=sum(fits for _, fits in rows),
        danger=what.name == "suspend",
    )  # fmt: skip


def _one(request: HttpRequest, tenant: Tenant, what: Act, reason: str) -> tuple[Tenant, bool, Any]:
    try:
        outcome = what.perform(tenant_id=tenant.pk, reason=reason, actor=actor_of(request), source=source_of(request))
    except ControlPlaneError as error:
        return tenant, False, str(error)
    return outcome.tenant, True, what.done
