"""REST: taking backups, looking at them, having them verified."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from backups.models import Backup
from backups.serializers import (
    BackupDetailSerializer,
    BackupSerializer,
    ChangeBackupSerializer,
    NewBackupSerializer,
    VerifyBackupSerializer,
)
from backups.services import take, verify
from tenants.exceptions import NotFound
from tenants.models import Operation, Tenant
from tenants.rest.context import actor_of, source_of
from tenants.rest.fields import represent
from tenants.rest.filters import StrictFilterBackend
from tenants.rest.views import ApiView
from tenants.serializers import OperationSerializer
from tenants.views import ListView, accepted


def backups_with_names() -> QuerySet[Backup]:
    """Backups, with what their representation shows of others."""
    return Backup.objects.select_related("tenant", "cluster").prefetch_related("copies__storage").defer("proof")


def get_backup(pk: UUID) -> Backup:
    """The backup with its copies. Raises NotFound."""
    backup = backups_with_names().filter(pk=pk).first()
    if backup is None:
        raise NotFound(f"There is no backup {pk}.")
    return backup


class BackupFilter(filters.FilterSet):
    """Backups."""

    tenant = filters.UUIDFilter(field_name="origin_id", help_text="The tenant's id, also of one that was purged.")
    cluster = filters.CharFilter(field_name="cluster__name", max_length=40, help_text="The cluster's name.")
    state = filters.ChoiceFilter(choices=Backup.State.choices)
    origin = filters.ChoiceFilter(choices=Backup.Origin.choices)
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Backup
        fields: tuple[str, ...] = ()


class BackupList(ListView):
    """All backups."""

    tenant_lookup = "tenant_id"
    noun = "backup"
    queryset = backups_with_names()
    serializer_class = BackupSerializer
    filterset_class = BackupFilter
    filter_backends = [StrictFilterBackend]
    ordering = ("created_at", "id")
    required_scopes = {"GET": "backups:read"}
    required_permissions = {"GET": "backups.view_backup"}

    @extend_schema(operation_id="list_backups", responses=BackupSerializer(many=True))
    def get(self, request: Request) -> Response:
        """A page of backups, newest first."""
        return self.list_page(request)


class _OfTenant(ApiView):
    """Something about one tenant."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.all()


class TenantBackups(_OfTenant):
    """A tenant's backups."""

    serializer_class = BackupSerializer
    paginated = True
    ordering = ("created_at", "id")
    required_scopes = {"GET": "backups:read"}
    required_permissions = {"GET": "backups.view_backup"}

    @extend_schema(operation_id="list_tenant_backups", responses=BackupSerializer(many=True))
    def get(self, request: Request, pk: UUID) -> Response:
        """A page of a tenant's backups, newest first; also when it was purged."""
        if not self.get_queryset().filter(pk=pk).exists():
            raise NotFound(f"There is no tenant {pk}.")
        rows: Any = self.paginate_queryset(backups_with_names().filter(origin_id=pk)) or []
        return self.get_paginated_response([represent(BackupSerializer, row) for row in rows])


class TenantBackup(_OfTenant):
    """Backing a tenant up."""

    serializer_class = OperationSerializer
    required_scopes = {"POST": "backups:write"}
    required_permissions = {"POST": "backups.add_backup"}

    @extend_schema(operation_id="backup_tenant", request=NewBackupSerializer, responses={202: OperationSerializer})
    def post(self, request: Request, pk: UUID) -> Response:
        """Take a backup now, by a worker. Poll `Location`; its `result.backup` is the backup's id."""
        body = self.valid_body(NewBackupSerializer, request)
        asked = take.backup_tenant(tenant_id=pk, **body, actor=actor_of(request), source=source_of(request))
        return accepted(asked.operation)

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """The backup that a request which died had begun."""
        actor = actor_of(request)
        begun = Operation.objects.filter(
            request_id__in=earlier, actor_kind=actor.kind, actor_id=actor.id, channel="rest", kind="backup.take",
            tenant_id=self.kwargs["pk"],
        ).order_by("created_at").last()  # fmt: skip
        return accepted(begun) if begun else None


class BackupResource(ApiView):
    """One backup."""

    tenant_lookup = "tenant_id"
    noun = "backup"
    queryset = Backup.objects.all()
    serializer_class = BackupDetailSerializer
    required_scopes = {"GET": "backups:read", "PATCH": "backups:write"}
    required_permissions = {"GET": "backups.view_backup", "PATCH": "backups.pin_backup"}

    @extend_schema(operation_id="get_backup", responses=BackupDetailSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """A backup, its copies, and why it is kept."""
        return Response(represent(BackupDetailSerializer, get_backup(pk)))

    @extend_schema(operation_id="change_backup", request=ChangeBackupSerializer, responses=BackupDetailSerializer)
    def patch(self, request: Request, pk: UUID) -> Response:
        """Change its note, pin it, or give it a retention of its own."""
        body = self.valid_body(ChangeBackupSerializer, request)
        take.change_backup(backup=get_backup(pk), **body, actor=actor_of(request), source=source_of(request))
        return Response(represent(BackupDetailSerializer, get_backup(pk)))


class BackupVerify(ApiView):
    """Having a backup verified."""

    tenant_lookup = "tenant_id"
    noun = "backup"
    queryset = Backup.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"POST": "backups:write"}
    required_permissions = {"POST": "backups.verify_backup"}

    @extend_schema(operation_id="verify_backup", request=VerifyBackupSerializer, responses={202: OperationSerializer})
    def post(self, request: Request, pk: UUID) -> Response:
        """Read every copy of it from the first to the last byte, by a worker."""
        body = self.valid_body(VerifyBackupSerializer, request)
        operation = verify.verify_backup(
            backup=get_backup(pk), **body, actor=actor_of(request), source=source_of(request)
        )
        return accepted(operation)
