"""REST: what a tenant's logins are, showing what is stored, additional logins."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from provisioning import services
from provisioning.credentials import reveal_credentials
from provisioning.serializers import (
    CloseCredentialSerializer,
    ConnectionSerializer,
    CredentialSerializer,
    CredentialsSerializer,
    CredentialWithConnectionSerializer,
    NewCredentialSerializer,
    RevealSerializer,
)
from tenants.models import Tenant
from tenants.rest.context import actor_of, source_of
from tenants.rest.fields import represent, validate
from tenants.rest.views import ApiView
from tenants.serializers import EmptySerializer


class _OfTenant(ApiView):
    """Something about one tenant."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.all()


class TenantReveal(_OfTenant):
    """Showing what is stored."""

    serializer_class = ConnectionSerializer
    confirmed_methods = frozenset({"POST"})
    required_scopes = {"POST": "credentials:reveal"}
    required_permissions = {"POST": "tenants.reveal_credentials"}

    @extend_schema(operation_id="reveal_credentials", request=RevealSerializer, responses=ConnectionSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """The tenant's present connection, password included. Each look is audited with its reason."""
        body = self.valid_body(RevealSerializer, request)
        connection = reveal_credentials(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        return Response(connection.as_dict())


class TenantCredentials(_OfTenant):
    """A tenant's logins."""

    serializer_class = CredentialsSerializer
    confirmed_methods = frozenset({"POST"})
    required_scopes = {"GET": "tenants:read", "POST": "credentials:write"}
    required_permissions = {"GET": "tenants.view_tenant", "POST": "provisioning.issue_credential"}

    @extend_schema(operation_id="get_credentials", responses=CredentialsSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """Its own logins, and the additional ones that are open or were, newest first, at most 200. No password."""
        tenant = services.get_tenant(pk)
        found = {"logins": list(tenant.roles.all()), "additional": list(tenant.credentials.all()[:200])}
        return Response(represent(CredentialsSerializer, found))

    @extend_schema(
        operation_id="issue_credential",
        request=NewCredentialSerializer,
        responses={201: CredentialWithConnectionSerializer},
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Another login for somebody and for a while, of at most 5 connections. Its password is in this answer only."""
        body = self.valid_body(NewCredentialSerializer, request)
        issued = services.issue_credential(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        document: dict[str, Any] = represent(CredentialSerializer, issued.credential)
        return Response({**document, "connection": issued.connection.as_dict()}, status=201)


class CredentialResource(_OfTenant):
    """One additional login."""

    serializer_class = CredentialSerializer
    query_parameters = frozenset({"reason"})
    required_scopes = {"DELETE": "credentials:write"}
    required_permissions = {"DELETE": "provisioning.issue_credential"}

    @extend_schema(
        operation_id="close_credential", parameters=[CloseCredentialSerializer], responses={200: CredentialSerializer}
    )
    def delete(self, request: Request, pk: UUID, credential_pk: UUID) -> Response:
        """End its sessions and take it away. One that is closed already stays as it is."""
        self.valid_body(EmptySerializer, request)
        options = validate(CloseCredentialSerializer, request.query_params.dict())
        closed = services.close_credential(
            tenant_id=pk, credential_id=credential_pk, **options, actor=actor_of(request), source=source_of(request)
        )
        return Response(represent(CredentialSerializer, closed))
