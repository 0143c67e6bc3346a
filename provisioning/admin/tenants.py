"""Tenants: the list, the form that provisions, the page with the lifecycle acts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from provisioning import credentials, services
from provisioning.admin import bulk, limits
from provisioning.admin.acts import ACTS, EDITABLE_STATES, Act, possible_acts
from provisioning.admin.facts import address, live_lines, without_password
from provisioning.admin.tenant_forms import EditForm, NewTenantForm
from provisioning.services import Connection, Provisioned
from tenants.admin.base import ControlPlaneAdmin, View, require
from tenants.admin.display import STATE_LABELS, age
from tenants.admin.forms import form_page
from tenants.admin.operations import may_retry, progress_context, steps_of
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.models import AuditEvent, IsolationCheck, Operation, Tenant, TenantProbe
from tenants.models.operations import OPEN_STATES
from tenants.operations import retryable
from tenants.recent import ask_first

_SHOWN_OPERATIONS = _SHOWN_EVENTS = 10
_ERROR_FIELDS = {
    "slug_taken": "slug",
    "cluster_disabled": "cluster",
    "cluster_dedicated": "cluster",
    "no_free_cluster": "cluster",
    "cluster_unavailable": "cluster",
    "cluster_busy": "cluster",
    "cluster_error": "cluster",
    "cluster_unusable": "cluster",
    "secret_unreadable": "cluster",
}


@admin.register(Tenant)
class TenantAdmin(ControlPlaneAdmin):
    """The fleet. Everything that changes a tenant goes through `provisioning.services`."""

    empty_hint = "Add a tenant: with a warm pool it takes less than a second."
    list_display = ("name", "slug", "state_badge", "plan", "cluster", "version_text", "age_text")
    list_display_links = ("name", "slug")
    list_filter = ("state", "plan", "cluster", "template")
    list_select_related = ("plan", "cluster")
    search_fields = ("name", "slug", "schema_name", "=id")
    search_help_text = "Name, slug, schema or id"
    actions = ("suspend_selected", "resume_selected")

    def pages(self) -> list[tuple[str, View, str]]:
        """A page for each act, for changes, and for collecting credentials."""
        acts = [(f"<uuid:object_id>/{act.name}/", self._act_view(act), act.name) for act in ACTS]
        return [
            *acts,
            ("<uuid:object_id>/edit/", self.edit_view, "edit"),
            ("<uuid:object_id>/credentials/<uuid:operation_id>/", self.credentials_view, "credentials"),
            ("<uuid:object_id>/logins/<uuid:credential_id>/close/", self.close_login_view, "close_login"),
        ]

    # --- list ------------------------------------------------------------------------------------------------------

    @display(description="state", label=STATE_LABELS, ordering="state")
    def state_badge(self, tenant: Tenant) -> str:
        """In its colour."""
        return tenant.state

    @display(description="template", ordering="template")
    def version_text(self, tenant: Tenant) -> str:
        """Template and version."""
        return f"{tenant.template} v{tenant.template_version}"

    @display(description="age", ordering="-created_at")
    def age_text(self, tenant: Tenant) -> str:
        """Since when it exists."""
        return age(tenant.created_at)

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        """Whether suspending is offered."""
        return request.user.has_perm("tenants.suspend_tenant")

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Whether resuming is offered."""
        return request.user.has_perm("tenants.resume_tenant")

    @admin.action(description="Suspend selected tenants", permissions=["suspend"])
    def suspend_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> HttpResponse | None:
        """Ask, then suspend each."""
        return bulk.act(self, request, queryset, ACTS[0], "suspend_selected")

    @admin.action(description="Resume selected tenants", permissions=["resume"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> HttpResponse | None:
        """Ask, then resume each."""
        return bulk.act(self, request, queryset, ACTS[1], "resume_selected")

    # --- provision -------------------------------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form that provisions; the answer to it shows the credentials, or leads to the operation."""
        require(request, "tenants.add_tenant")

        def perform(data: dict[str, Any]) -> HttpResponse:
            chosen: dict[str, Any] = {
                key: data[key] or None for key in ("name", "slug", "plan", "template", "cluster", "labels")
            }
            return self._outcome(request, lambda **caller: services.provision_tenant(**chosen, **caller))

        return form_page(
            self, request, NewTenantForm, perform, title="Add tenant", submit="Provision the tenant",
            error_fields=_ERROR_FIELDS, template="provisioning/admin/tenant_add.html",
        )  # fmt: skip

    def _outcome(self, request: HttpRequest, service: Any, done: str = "") -> HttpResponse:
        """Call a service; show its credentials, or go on to the page that tells how it went."""
        try:
            outcome = service(actor=actor_of(request), source=source_of(request))
        except ControlPlaneError as error:
            operation = error.extra.get("operation")
            if operation is None or error.code == "operation_in_progress":
                raise
            messages.warning(request, str(error))
            return HttpResponseRedirect(reverse("admin:tenants_operation_change", args=[operation]))
        if isinstance(outcome, Provisioned) and outcome.connection is not None:
            return self._show_credentials(request, outcome.tenant, outcome.connection)
        if isinstance(outcome, services.AwaitingApproval):
            messages.warning(request, "Nothing was done yet: the purge waits until somebody else approves it.")
            return HttpResponseRedirect(reverse("admin:provisioning_purgerequest_change", args=[outcome.request.pk]))
        if outcome.operation is not None and outcome.operation.is_open:
            return HttpResponseRedirect(reverse("admin:tenants_operation_change", args=[outcome.operation.pk]))
        if done:
            messages.success(request, f"{outcome.tenant.name} {done}")
        return HttpResponseRedirect(_page_of(outcome.tenant))

    def _show_credentials(self, request: HttpRequest, tenant: Tenant, connection: Connection) -> HttpResponse:
        """The one page that shows a password: the answer to a POST, which nothing on the way may keep."""
        response = self.page(
            request, "provisioning/admin/credentials.html", title="Connection", obj=tenant, connection=connection,
            psql=without_password(connection).psql,
        )  # fmt: skip
        response["Referrer-Policy"] = "no-referrer"
        return response  # the admin marks all its pages no-store

    def credentials_view(self, request: HttpRequest, object_id: UUID, operation_id: UUID) -> HttpResponse:
        """Collect what a worker's provisioning made: by POST, once."""
        require(request, "tenants.collect_credentials")
        tenant = self.find(request, object_id)
        page = HttpResponseRedirect(reverse("admin:tenants_operation_change", args=[operation_id]))
        if request.method != "POST" or not tenant.operations.filter(pk=operation_id).exists():
            return page
        if asked := ask_first(request, back=page.url):
            return asked
        try:
            connection = credentials.collect_credentials(
                operation_id=operation_id, actor=actor_of(request), source=source_of(request)
            )
        except ControlPlaneError as error:
            messages.error(request, str(error))
            return page
        return self._show_credentials(request, tenant, connection)

    def close_login_view(self, request: HttpRequest, object_id: UUID, credential_id: UUID) -> HttpResponse:
        """Take an additional login away: by POST."""
        require(request, "provisioning.issue_credential")
        tenant = self.find(request, object_id)
        if request.method == "POST":
            try:
                closed = services.close_credential(
                    tenant_id=tenant.pk, credential_id=credential_id, reason="Closed on the tenant's page.",
                    actor=actor_of(request), source=source_of(request),
                )  # fmt: skip
                messages.success(request, f"{closed.login} is gone.")
            except ControlPlaneError as error:
                messages.error(request, str(error))
        return HttpResponseRedirect(_page_of(tenant))

    # --- the tenant's page -------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Everything about a tenant, and what can be done to it."""
        tenant = self.find(request, object_id)
        operations = list(tenant.operations.prefetch_related("steps")[:_SHOWN_OPERATIONS])
        busy = next((op for op in operations if op.state in OPEN_STATES and op.exclusive), None)
        return self.page(
            request, "provisioning/admin/tenant.html", title=tenant.name, obj=tenant,
            timeline=[(operation, steps_of(operation)) for operation in operations],
            busy=progress_context(request, busy) | {"reload": True} if busy else None,
            acts=[] if busy else [(act, _page_of(tenant, act.name)) for act in possible_acts(request, tenant)],
            may_edit=not busy and tenant.state in EDITABLE_STATES and request.user.has_perm("tenants.change_tenant"),
            again=self._again(request, tenant, operations), limits=_limit_rows(tenant), **self._connection(tenant),
            events=self._events(request, tenant), lent=tenant.credentials.filter(closed_at__isnull=True),
            probe=TenantProbe.objects.filter(tenant=tenant).first(),
            proof=IsolationCheck.objects.filter(cluster=tenant.cluster_id).first(),
            findings=tenant.isolation_findings.filter(resolved_at=None)[:_SHOWN_EVENTS],
        )  # fmt: skip

    def _connection(self, tenant: Tenant) -> dict[str, Any]:
        logins = list(tenant.roles.all())
        try:
            return {"logins": logins, "address": address(tenant, logins)}
        except ControlPlaneError as error:
            return {"logins": logins, "address": None, "address_error": str(error)}

    def _events(self, request: HttpRequest, tenant: Tenant) -> list[AuditEvent] | None:
        if not request.user.has_perm("tenants.view_auditevent"):
            return None
        return list(AuditEvent.objects.filter(tenant_id=tenant.pk)[:_SHOWN_EVENTS])

    def _again(self, request: HttpRequest, tenant: Tenant, operations: list[Operation]) -> Operation | None:
        """The failed provisioning that can be tried again."""
        if tenant.state != Tenant.State.FAILED:
            return None
        mine = (op for op in operations if op.kind == "tenant.provision" and retryable(op) and may_retry(request, op))
        return next(mine, None)

    def _act_view(self, act: Act) -> View:
        def view(request: HttpRequest, object_id: UUID) -> HttpResponse:
            require(request, act.permission)
            tenant = self.find(request, object_id)
            if tenant.state not in act.states:
                messages.warning(request, f"A tenant that is {tenant.state} cannot be asked to “{act.label.lower()}”.")
                return HttpResponseRedirect(_page_of(tenant))

            def perform(data: dict[str, Any]) -> HttpResponse:
                def service(**caller: Any) -> Any:
                    return act.perform(tenant_id=tenant.pk, **data, **caller)

                return self._outcome(request, service, act.done)

            on_cluster, found = live_lines(tenant)
            shown = [("Tenant", f"{tenant.name} ({tenant.slug})"), ("State", tenant.state), *on_cluster]
            return form_page(
                self, request, act.form, perform, title=act.label, submit=act.label, obj=tenant, danger=act.danger,
                confirm=act.confirm,
                intro=f"{act.label}: what will happen", lines=act.explain(tenant, found), facts=shown,
            )  # fmt: skip

        view.__name__ = f"{act.name}_view"
        return view

    def edit_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Change name, plan, labels and limits; refused when somebody else changed the tenant meanwhile."""
        require(request, "tenants.change_tenant")
        tenant = self.find(request, object_id)
        form_class = EditForm.with_limits()
        made: list[EditForm] = []

        def make(data: Any, initial: Any) -> EditForm:
            made.append(form_class(data, tenant=tenant))
            return made[0]

        def perform(data: dict[str, Any]) -> HttpResponse:
            changes = made[0].changes(tenant)
            return self._outcome(
                request,
                lambda **caller: services.update_tenant(
                    tenant_id=tenant.pk, changes=changes, expected_version=data["version"], **caller
                ),
                f"is changed: {', '.join(changes)}." if changes else "is as it was: nothing differed.",
            )

        return form_page(
            self, request, make, perform, title="Edit", submit="Save and apply", obj=tenant,
            lines=["Plan and limits reach the live logins at once; open sessions keep the timeouts they began with."],
        )  # fmt: skip


def _limit_rows(tenant: Tenant) -> list[tuple[str, str, bool]]:
    return [
        (limits.label(name), limits.show(name, value), name in tenant.limits)
        for name, value in tenant.effective_limits().items()
    ]


def _page_of(tenant: Tenant, page: str = "change") -> str:
    return reverse(f"admin:tenants_tenant_{page}", args=[tenant.pk])
