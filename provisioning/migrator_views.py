"""REST: a tenant's migrator, let in for a window."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from provisioning import services
from provisioning.models import MigratorWindow
from provisioning.serializers import MigratorSerializer, MigratorWithConnectionSerializer, NewMigratorSerializer
from tenants.exceptions import NotFound
from tenants.models import Tenant
from tenants.rest.context import actor_of, source_of
from tenants.rest.fields import represent
from tenants.rest.views import ApiView
from tenants.serializers import EmptySerializer


class TenantMigrator(ApiView):
    """The login that acts as the owner of a tenant's schema."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.all()
    serializer_class = MigratorSerializer
    confirmed_methods = frozenset({"POST"})
    required_scopes = {"GET": "tenants:read", "POST": "migrators:write", "DELETE": "migrators:write"}
    required_permissions = {
        "GET": "tenants.view_tenant",
        "POST": "provisioning.open_migrator",
        "DELETE": "provisioning.open_migrator",
    }

    @extend_schema(operation_id="get_migrator", responses=MigratorSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """The last window, open or closed. 404 when there never was one."""
        window = MigratorWindow.objects.filter(tenant=services.get_tenant(pk)).first()
        if window is None:
            raise NotFound("This tenant never had a migrator.")
        return Response(represent(MigratorSerializer, window))

    @extend_schema(
        operation_id="open_migrator", request=NewMigratorSerializer, responses={201: MigratorWithConnectionSerializer}
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Let the migrator in for 1 to 1440 minutes. Its password is in this answer only."""
        body = self.valid_body(NewMigratorSerializer, request)
        opened = services.open_migrator(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        document: dict[str, Any] = represent(MigratorSerializer, opened.window)
        return Response({**document, "connection": opened.connection.as_dict()}, status=201)

    @extend_schema(operation_id="close_migrator", responses={200: MigratorSerializer})
    def delete(self, request: Request, pk: UUID) -> Response:
        """Shut it out, end its sessions, and tell what it left. 404 when none is open."""
        self.valid_body(EmptySerializer, request)
        closed = services.close_migrator(tenant_id=pk, actor=actor_of(request), source=source_of(request))
        if closed is None:
            raise NotFound("No migrator of this tenant is open.")
        return Response(represent(MigratorSerializer, closed))
