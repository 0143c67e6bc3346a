"""REST: operations, the audit log, clusters, plans."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet, prefetch_related_objects
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import operations
from tenants.exceptions import NotFound
from tenants.filters import AuditEventFilter, ClusterFilter, OperationFilter
from tenants.ledger import export, status
from tenants.models import ApiKey, AuditEvent, Cluster, Operation, Plan
from tenants.models.isolation import with_isolation
from tenants.rest.context import actor_of, source_of
from tenants.rest.fields import represent
from tenants.rest.filters import StrictFilterBackend
from tenants.rest.views import ApiView
from tenants.serializers import (
    AuditEventSerializer,
    AuditLogSerializer,
    ClusterSerializer,
    EmptySerializer,
    OperationSerializer,
    OperationSummarySerializer,
    PlanSerializer,
    ReasonSerializer,
    operation_url,
)


def operations_with_names() -> QuerySet[Operation]:
    """Operations, with what their representation shows of others."""
    return Operation.objects.select_related("tenant", "cluster")


def get_operation(pk: UUID) -> Operation:
    """The operation with its steps. Raises NotFound."""
    operation = operations_with_names().prefetch_related("steps").filter(pk=pk).first()
    if operation is None:
        raise NotFound(f"There is no operation {pk}.")
    return operation


class ListView(ApiView):
    """A list that can only be read."""

    paginated = True

    def get(self, request: Request) -> Response:
        """A page, newest first."""
        return self.list_page(request)


class OperationList(ListView):
    """What is being done, and was."""

    tenant_lookup = "tenant_id"
    noun = "operation"
    queryset = operations_with_names()
    serializer_class = OperationSummarySerializer
    filterset_class = OperationFilter
    filter_backends = [StrictFilterBackend]
    ordering = ("created_at", "id")
    required_scopes = {"GET": "operations:read"}
    required_permissions = {"GET": "tenants.view_operation"}

    @extend_schema(operation_id="list_operations", responses=OperationSummarySerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of operations, newest first."""
        return self.list_page(request)


class OperationDetail(ApiView):
    """One operation."""

    tenant_lookup = "tenant_id"
    noun = "operation"
    queryset = Operation.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"GET": ("operations:read", "tenants:write")}
    required_permissions = {"GET": "tenants.view_operation"}

    @extend_schema(operation_id="get_operation")
    def get(self, request: Request, pk: UUID) -> Response:
        """An operation with its steps. Poll it until `state` is succeeded, failed or cancelled."""
        operation = get_operation(pk)
        headers = {"Retry-After": "1"} if operation.is_open else None
        return Response(represent(OperationSerializer, operation), headers=headers)


class OperationAct(ApiView):
    """Something done to an operation."""

    tenant_lookup = "tenant_id"
    noun = "operation"
    queryset = Operation.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"POST": "operations:write"}


class OperationCancel(OperationAct):
    """Calling an operation off."""

    required_permissions = {"POST": "tenants.cancel_operation"}

    @extend_schema(operation_id="cancel_operation", request=ReasonSerializer, responses=OperationSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """Cancel: what waits is called off at once, what runs stops at its next step and is undone."""
        body = self.valid_body(ReasonSerializer, request)
        operations.cancel(
            get_operation(pk), reason=body.get("reason", ""), actor=actor_of(request), source=source_of(request)
        )
        return Response(represent(OperationSerializer, get_operation(pk)))


class OperationRetry(OperationAct):
    """Trying an operation again."""

    required_permissions = {"POST": "tenants.retry_operation"}

    @extend_schema(operation_id="retry_operation", request=None, responses={202: OperationSerializer})
    def post(self, request: Request, pk: UUID) -> Response:
        """Do the work of a failed or cancelled operation again, as a new operation."""
        self.valid_body(EmptySerializer, request)
        operation = get_operation(pk)
        self._check_kind(request, operation)
        again = operations.retry(operation, actor=actor_of(request), source=source_of(request))
        return accepted(again)

    def _check_kind(self, request: Request, operation: Operation) -> None:
        """Trying it again needs what beginning it does."""
        workflow = operations.needed_to_retry(operation)
        if workflow is None:
            return
        if isinstance(request.auth, ApiKey):
            if workflow.scope and workflow.scope not in request.auth.scopes:
                self.permission_denied(request, f"This API key lacks the scope {workflow.scope}.", "insufficient_scope")
            return
        if workflow.permission and not request.user.has_perm(workflow.permission):
            self.permission_denied(request, "You may not do this.", "forbidden")
        if workflow.confirmed:
            self.require_confirmed(request)


class AuditEventList(ListView):
    """The audit log."""

    tenant_lookup = "tenant_id"
    noun = "audit event"
    queryset = AuditEvent.objects.all()
    serializer_class = AuditEventSerializer
    ordering = ("at", "id")
    filterset_class = AuditEventFilter
    filter_backends = [StrictFilterBackend]
    required_scopes = {"GET": "audit:read"}
    required_permissions = {"GET": "tenants.view_auditevent"}

    @extend_schema(operation_id="list_audit_events", responses=AuditEventSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of the audit log, newest first."""
        return self.list_page(request)


class AuditEventExport(ApiView):
    """The audit log, taken out."""

    confirmed_methods = frozenset({"GET"})
    queryset = AuditEvent.objects.all()
    filterset_class = AuditEventFilter
    filter_backends = [StrictFilterBackend]
    query_parameters = frozenset({"as"})
    required_scopes = {"GET": "audit:read"}
    required_permissions = {"GET": "tenants.view_auditevent"}

    @extend_schema(
        operation_id="export_audit_events",
        parameters=[OpenApiParameter("as", str, enum=list(export.FORMATS), description="csv, or jsonl with a proof.")],
        responses={
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, "text/csv"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Events as CSV, or as JSON Lines with a proof that anybody can verify (scripts/verify_audit_export.py)."""
        chosen = request.query_params.dict()
        kind = chosen.pop("as", "jsonl")
        lines = export.export(
            self.filter_queryset(self.get_queryset()),
            kind=kind,
            described=chosen,
            actor=actor_of(request),
            source=source_of(request),
        )
        return export.response(lines, kind)


class AuditLog(ApiView):
    """How the audit log is doing."""

    queryset = AuditEvent.objects.all()
    serializer_class = AuditLogSerializer
    required_scopes = {"GET": "audit:read"}
    required_permissions = {"GET": "tenants.view_auditverification"}

    @extend_schema(operation_id="get_audit_log")
    def get(self, request: Request) -> Response:
        """The chain's end, what waits for a seal, the last signed checkpoint and the last verifications."""
        return Response(represent(AuditLogSerializer, status.status()))


class AuditEventDetail(ApiView):
    """One line of the audit log."""

    tenant_lookup = "tenant_id"
    noun = "audit event"
    queryset = AuditEvent.objects.all()
    serializer_class = AuditEventSerializer
    required_scopes = {"GET": "audit:read"}
    required_permissions = {"GET": "tenants.view_auditevent"}

    @extend_schema(operation_id="get_audit_event")
    def get(self, request: Request, pk: int) -> Response:
        """One audit event."""
        return Response(represent(AuditEventSerializer, self.get_object()))


# What its representation shows of others.
CLUSTER_SHOWS = ("pooler__log_watch", "reaper", "log_watch", "host_cluster__pooler", "archive")


class ClusterList(ListView):
    """Where tenants live."""

    filter_backends = [StrictFilterBackend]
    filterset_class = ClusterFilter

    queryset = with_isolation(Cluster.objects.select_related(*CLUSTER_SHOWS))
    serializer_class = ClusterSerializer
    required_scopes = {"GET": "clusters:read"}
    required_permissions = {"GET": "tenants.view_cluster"}

    @extend_schema(operation_id="list_clusters", responses=ClusterSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of clusters, newest first; without tenants' own databases, unless those are asked for."""
        return self.list_page(request)


class ClusterDetail(ApiView):
    """One cluster."""

    queryset = with_isolation(Cluster.objects.select_related(*CLUSTER_SHOWS))
    serializer_class = ClusterSerializer
    required_scopes = {"GET": "clusters:read"}
    required_permissions = {"GET": "tenants.view_cluster"}

    @extend_schema(operation_id="get_cluster")
    def get(self, request: Request, pk: int) -> Response:
        """One cluster."""
        return Response(represent(ClusterSerializer, self.get_object()))


class PlanList(ListView):
    """What tenants may use."""

    queryset = Plan.objects.all()
    serializer_class = PlanSerializer
    required_scopes = {"GET": "plans:read"}
    required_permissions = {"GET": "tenants.view_plan"}

    @extend_schema(operation_id="list_plans", responses=PlanSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of plans, newest first."""
        return self.list_page(request)


def accepted(operation: Operation) -> Response:
    """202: the work goes on in a worker; Location says where to look."""
    prefetch_related_objects([operation], "steps")
    headers = {"Location": operation_url(operation), "Retry-After": "1"}
    return Response(represent(OperationSerializer, operation), status=202, headers=headers)
