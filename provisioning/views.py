"""REST: tenants and what is done to them, templates."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework.request import Request
from rest_framework.response import Response

from provisioning import services
from provisioning.credentials import collect_credentials
from provisioning.models import PurgeRequest, Template, TemplateVersion
from provisioning.serializers import (
    ChangeTenantSerializer,
    ConnectionSerializer,
    DeletionSerializer,
    NewTenantSerializer,
    PurgeSerializer,
    RotateSerializer,
    TemplateSerializer,
    TenantWithConnectionSerializer,
    TenantWithOperationSerializer,
    WaitingPurgeSerializer,
)
from tenants.filters import TenantFilter
from tenants.models import ApiKey, Operation, Tenant
from tenants.rest.context import actor_of, source_of
from tenants.rest.etags import check_if_match, etag_of, not_modified
from tenants.rest.fields import represent, validate
from tenants.rest.filters import StrictFilterBackend
from tenants.rest.views import ApiView
from tenants.serializers import (
    EmptySerializer,
    OperationSerializer,
    OperationSummarySerializer,
    ReasonSerializer,
    TenantSerializer,
    operation_url,
    tenant_url,
)
from tenants.views import ListView, accepted, get_operation

ETAG = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200, 201], description="For If-Match.")
LOCATION = OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[201, 202])
OPERATION = OpenApiParameter("Operation", str, OpenApiParameter.HEADER, response=True, description="Its path.")
PREFER = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, enum=["respond-async"], description="Answer 202 at once, whatever is warm."
)
IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description="The ETag that you read.")
IF_NONE_MATCH = OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="The ETag that you have.")
EXAMPLE = OpenApiExample(
    "A shop",
    value={"name": "Müller & Söhne", "slug": "mueller-soehne", "plan": "standard", "labels": {"region": "eu"}},
    request_only=True,
)
ASYNC = "respond-async"


def _prefers_async(request: Request) -> bool:
    preferences = request.headers.get("Prefer", "").lower().split(",")
    return any(item.partition(";")[0].strip() == ASYNC for item in preferences)


def _with(tenant: Tenant, outcome: services.Outcome, **more: Any) -> Response:
    """200: the tenant as it now is, the operation that did it, and what else there is to say."""
    operation = outcome.operation
    data = {
        **represent(TenantSerializer, tenant),
        **more,
        "operation": represent(OperationSummarySerializer, operation) if operation else None,
    }
    headers = {"ETag": etag_of(tenant)}
    if operation is not None:
        headers["Operation"] = operation_url(operation)
    return Response(data, headers=headers)


def _begun_by(request: Request, earlier: tuple[str, ...], kind: str, **tenant: Any) -> Operation | None:
    """The operation that a request which died had begun, if it came that far."""
    actor = actor_of(request)
    return (
        Operation.objects.filter(
            request_id__in=earlier, actor_kind=actor.kind, actor_id=actor.id, channel="rest", kind=kind,
            **{f"tenant__{name}": value for name, value in tenant.items()},
        ).order_by("created_at").last()
    )  # fmt: skip


class TenantCollection(ApiView):
    """All tenants."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.select_related("plan", "cluster__host_cluster")
    serializer_class = TenantSerializer
    filterset_class = TenantFilter
    filter_backends = [StrictFilterBackend]
    paginated = True
    ordering = ("created_at", "id")
    required_scopes = {"GET": "tenants:read", "POST": "tenants:write"}
    required_permissions = {"GET": "tenants.view_tenant", "POST": "tenants.add_tenant"}

    @extend_schema(operation_id="list_tenants", responses=TenantSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of tenants, newest first."""
        return self.list_page(request)

    @extend_schema(
        operation_id="create_tenant",
        request=NewTenantSerializer,
        parameters=[PREFER, LOCATION, ETAG],
        examples=[EXAMPLE],
        responses={
            201: OpenApiResponse(TenantWithConnectionSerializer, description="It is active; here are its credentials."),
            202: OpenApiResponse(
                OperationSerializer,
                description="A worker makes it. Poll `Location`, then POST to its `links.credentials`, once.",
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Provision a tenant: at once where a schema is waiting for one, else by a worker."""
        body = self.valid_body(NewTenantSerializer, request)
        wants_async = _prefers_async(request)
        done = services.provision_tenant(
            **body, respond_async=wants_async, actor=actor_of(request), source=source_of(request)
        )
        if done.connection is None:
            response = accepted(done.operation)  # type: ignore[arg-type]
            if wants_async:
                response["Preference-Applied"] = ASYNC
            return response
        response = _with(done.tenant, done, connection=done.connection.as_dict())
        response.status_code = 201
        response["Location"] = tenant_url(done.tenant)
        return response

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """The provisioning that a request which died had begun."""
        body: Any = request.data
        begun = _begun_by(request, earlier, "tenant.provision", slug=body.get("slug"))
        return accepted(begun) if begun else None


class TenantResource(ApiView):
    """One tenant."""

    tenant_lookup = "pk"
    noun = "tenant"
    confirmed_methods = frozenset({"DELETE"})
    queryset = Tenant.objects.all()
    serializer_class = TenantSerializer
    query_parameters = frozenset()
    required_scopes = {"GET": "tenants:read", "PATCH": "tenants:write", "DELETE": "tenants:write"}
    required_permissions = {
        "GET": "tenants.view_tenant",
        "PATCH": "tenants.change_tenant",
        "DELETE": "tenants.delete_tenant",
    }
    problem_statuses = {"PATCH": (412,)}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """As everywhere; DELETE takes its options from the query."""
        if request.method == "DELETE":
            self.query_parameters = frozenset({"reason", "grace_days"})
        super().initial(request, *args, **kwargs)

    @extend_schema(
        operation_id="get_tenant",
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: TenantSerializer, 304: OpenApiResponse(description="You have it already.")},
    )
    def get(self, request: Request, pk: UUID) -> Response:
        """A tenant."""
        tenant = services.get_tenant(pk)
        headers = {"ETag": etag_of(tenant), "Cache-Control": "private, no-cache"}
        if not_modified(request, tenant):
            return Response(None, status=304, headers=headers)
        return Response(represent(TenantSerializer, tenant), headers=headers)

    @extend_schema(
        operation_id="change_tenant",
        request=ChangeTenantSerializer,
        parameters=[IF_MATCH, ETAG],
        responses=TenantWithOperationSerializer,
    )
    def patch(self, request: Request, pk: UUID) -> Response:
        """Change name, plan, labels or limits. Plan and limits reach live logins at once."""
        changes = self.valid_body(ChangeTenantSerializer, request)
        version = check_if_match(request, services.get_tenant(pk))
        outcome = services.update_tenant(
            tenant_id=pk, changes=changes, expected_version=version, actor=actor_of(request), source=source_of(request)
        )
        return _with(outcome.tenant, outcome)

    @extend_schema(
        operation_id="delete_tenant",
        parameters=[DeletionSerializer, ETAG],
        responses={200: TenantWithOperationSerializer},
    )
    def delete(self, request: Request, pk: UUID) -> Response:
        """Shut it out and begin its grace period, in which it can be undeleted; afterwards it is purged."""
        self.valid_body(EmptySerializer, request)
        options = validate(DeletionSerializer, request.query_params.dict())
        outcome = services.delete_tenant(tenant_id=pk, **options, actor=actor_of(request), source=source_of(request))
        return _with(outcome.tenant, outcome)


class TenantAct(ApiView):
    """Something done to a tenant."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.all()
    serializer_class = TenantSerializer
    required_scopes = {"POST": "tenants:write"}
    kind = ""

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """What a request which died had begun: the answer shows how far it is."""
        begun = _begun_by(request, earlier, self.kind, pk=self.kwargs["pk"])
        tenant = services.get_tenant(self.kwargs["pk"])
        return _with(tenant, services.Outcome(tenant, begun)) if begun else None


class TenantSuspend(TenantAct):
    """Shutting a tenant out."""

    kind = "tenant.suspend"
    required_permissions = {"POST": "tenants.suspend_tenant"}

    @extend_schema(
        operation_id="suspend_tenant",
        request=ReasonSerializer,
        parameters=[ETAG, OPERATION],
        responses=TenantWithOperationSerializer,
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Close its logins and end its sessions."""
        body = self.valid_body(ReasonSerializer, request)
        outcome = services.suspend_tenant(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        return _with(outcome.tenant, outcome)


class TenantResume(TenantAct):
    """Letting a tenant in again."""

    kind = "tenant.resume"
    required_permissions = {"POST": "tenants.resume_tenant"}

    @extend_schema(
        operation_id="resume_tenant",
        request=ReasonSerializer,
        parameters=[ETAG, OPERATION],
        responses=TenantWithOperationSerializer,
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Open its logins again, with the credentials it had."""
        body = self.valid_body(ReasonSerializer, request)
        outcome = services.resume_tenant(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        return _with(outcome.tenant, outcome)


class TenantUndelete(TenantAct):
    """Bringing a tenant back."""

    kind = "tenant.undelete"
    required_permissions = {"POST": "tenants.undelete_tenant"}

    @extend_schema(
        operation_id="undelete_tenant",
        request=ReasonSerializer,
        parameters=[ETAG, OPERATION],
        responses=TenantWithOperationSerializer,
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Bring a deleted tenant back as it was, with the credentials it had."""
        body = self.valid_body(ReasonSerializer, request)
        outcome = services.undelete_tenant(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        return _with(outcome.tenant, outcome)


class TenantRotate(ApiView):
    """New credentials."""

    tenant_lookup = "pk"
    noun = "tenant"
    confirmed_methods = frozenset({"POST"})
    queryset = Tenant.objects.all()
    serializer_class = TenantSerializer
    required_scopes = {"POST": "credentials:rotate"}
    required_permissions = {"POST": "tenants.rotate_tenant"}

    @extend_schema(
        operation_id="rotate_credentials",
        request=RotateSerializer,
        parameters=[ETAG, OPERATION],
        responses=TenantWithConnectionSerializer,
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Make a new login and password; the old login works until the overlap ends."""
        body = self.valid_body(RotateSerializer, request)
        done = services.rotate_credentials(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        return _with(done.tenant, done, connection=done.connection.as_dict() if done.connection else None)


class TenantPurge(ApiView):
    """The end of a tenant."""

    tenant_lookup = "pk"
    noun = "tenant"
    confirmed_methods = frozenset({"POST"})
    queryset = Tenant.objects.all()
    serializer_class = TenantSerializer
    required_scopes = {"POST": "tenants:write"}
    required_permissions = {"POST": "tenants.purge_tenant"}

    @extend_schema(
        operation_id="purge_tenant",
        request=PurgeSerializer,
        parameters=[LOCATION],
        responses={
            202: OpenApiResponse(
                PolymorphicProxySerializer("PurgeBegun", [OperationSerializer, WaitingPurgeSerializer], None),
                description="A worker does it; or, where a second person has to approve, the request that waits.",
            )
        },
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Destroy its schema, roles and data for good; a worker does it."""
        body = self.valid_body(PurgeSerializer, request)
        outcome = services.purge_tenant(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        if isinstance(outcome, services.AwaitingApproval):
            location = f"{request.path.partition('/tenants/')[0]}/purge-requests/{outcome.request.pk}"
            body = represent(WaitingPurgeSerializer, outcome.request)
            return Response(body, status=202, headers={"Location": location})
        return accepted(outcome.operation)  # type: ignore[arg-type]

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """The purge that a request which died had begun."""
        begun = _begun_by(request, earlier, "tenant.purge", pk=self.kwargs["pk"])
        return accepted(begun) if begun else None


class PurgeRequestList(ListView):
    """Purges that wait for a second person."""

    tenant_lookup = "tenant_id"
    queryset = PurgeRequest.objects.all()
    serializer_class = WaitingPurgeSerializer
    ordering = ("requested_at", "id")
    required_scopes = {"GET": "tenants:read"}
    required_permissions = {"GET": "provisioning.view_purgerequest"}

    @extend_schema(operation_id="list_purge_requests", responses=WaitingPurgeSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of purge requests, newest first."""
        return self.list_page(request)


class PurgeRequestDetail(ApiView):
    """One request."""

    tenant_lookup = "tenant_id"
    noun = "purge request"
    queryset = PurgeRequest.objects.all()
    serializer_class = WaitingPurgeSerializer
    required_scopes = {"GET": "tenants:read"}
    required_permissions = {"GET": "provisioning.view_purgerequest"}

    @extend_schema(operation_id="get_purge_request")
    def get(self, request: Request, pk: UUID) -> Response:
        """One purge request."""
        return Response(represent(WaitingPurgeSerializer, services.get_purge_request(pk)))


class PurgeRequestApprove(ApiView):
    """The second pair of eyes says yes."""

    confirmed_methods = frozenset({"POST"})
    queryset = PurgeRequest.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"POST": "purges:approve"}
    required_permissions = {"POST": "tenants.purge_tenant"}

    @extend_schema(operation_id="approve_purge", request=ReasonSerializer, responses={202: OperationSerializer})
    def post(self, request: Request, pk: UUID) -> Response:
        """Start the purge; refused for whoever asked for it (`own_request`)."""
        body = self.valid_body(ReasonSerializer, request)
        outcome = services.approve_purge(request_id=pk, **body, actor=actor_of(request), source=source_of(request))
        return accepted(outcome.operation)  # type: ignore[arg-type]


class PurgeRequestReject(ApiView):
    """The second pair of eyes says no."""

    queryset = PurgeRequest.objects.all()
    serializer_class = WaitingPurgeSerializer
    required_scopes = {"POST": "purges:approve"}
    required_permissions = {"POST": "tenants.purge_tenant"}

    @extend_schema(operation_id="reject_purge", request=ReasonSerializer, responses=WaitingPurgeSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """Turn the request down; the tenant stays as it is."""
        reason = self.valid_body(ReasonSerializer, request).get("reason", "")
        actor, source = actor_of(request), source_of(request)
        done = services.reject_purge(request_id=pk, reason=reason, actor=actor, source=source)
        return Response(represent(WaitingPurgeSerializer, done))


class OperationCredentials(ApiView):
    """What a worker provisioned."""

    tenant_lookup = "tenant_id"
    noun = "operation"
    confirmed_methods = frozenset({"POST"})
    queryset = Operation.objects.all()
    serializer_class = ConnectionSerializer
    required_scopes = {"POST": ("credentials:rotate", "tenants:write")}
    required_permissions = {"POST": "tenants.collect_credentials"}
    problem_statuses = {"POST": (410,)}

    @extend_schema(operation_id="collect_credentials", request=None, responses={200: ConnectionSerializer})
    def post(self, request: Request, pk: UUID) -> Response:
        """The credentials of a tenant that a worker has provisioned: once, to the key that asked for the tenant or
        one that may rotate credentials."""
        self.valid_body(EmptySerializer, request)
        self._check_creator(request, get_operation(pk))
        connection = collect_credentials(operation_id=pk, actor=actor_of(request), source=source_of(request))
        return Response(connection.as_dict())

    def _check_creator(self, request: Request, operation: Operation) -> None:
        actor = actor_of(request)
        creator = (operation.actor_kind, operation.actor_id) == (actor.kind, actor.id)
        if isinstance(request.auth, ApiKey) and "credentials:rotate" not in request.auth.scopes and not creator:
            self.permission_denied(
                request, "Only the key that asked for the tenant, or one with credentials:rotate, may.", "forbidden"
            )


class TemplateList(ListView):
    """What tenants are copies of."""

    queryset = Template.objects.prefetch_related(
        Prefetch("versions", TemplateVersion.objects.defer("script", "timeseries").order_by("-number"))
    )
    serializer_class = TemplateSerializer
    required_scopes = {"GET": "templates:read"}
    required_permissions = {"GET": "provisioning.view_template"}

    @extend_schema(operation_id="list_templates", responses=TemplateSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of templates with all their versions, newest first."""
        return self.list_page(request)
