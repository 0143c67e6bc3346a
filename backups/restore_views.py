"""REST: restoring backups, and what restores have set aside."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from backups.models import Backup, KeptSchema
from backups.restore_serializers import (
    ConfirmRestoreSerializer,
    DrillSerializer,
    KeptSchemaSerializer,
    PreviewSerializer,
    RecoverySerializer,
    RestoreSerializer,
    UndoRestoreSerializer,
)
from backups.services import drills, preview, recovery, restore
from backups.services import kept as kept_services
from backups.views import get_backup
from tenants.exceptions import Conflict, InvalidInput, NotFound
from tenants.models import Cluster, Operation, Tenant
from tenants.rest.context import actor_of, bound_tenant, source_of
from tenants.rest.fields import represent
from tenants.rest.views import ApiView
from tenants.serializers import OperationSerializer
from tenants.views import accepted

COPY = {"target": "new", "slug": "shop-copy", "reason": "to look at last week's orders"}
SAME = {"target": "same", "confirm_slug": "shop", "reason": "wrong import on Monday", "keep_days": 7}


class BackupRestore(ApiView):
    """Restoring a backup."""

    tenant_lookup = "tenant_id"
    noun = "backup"
    queryset = Backup.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"POST": "backups:restore"}
    confirmed_methods = frozenset({"POST"})
    required_permissions = {"POST": "backups.restore_backup"}

    @extend_schema(
        operation_id="restore_backup",
        request=RestoreSerializer,
        responses={202: OperationSerializer, 200: PreviewSerializer},
        examples=[
            OpenApiExample("into a new tenant", value=COPY, request_only=True),
            OpenApiExample("in place", value=SAME, request_only=True),
            OpenApiExample("what would happen", value={"target": "same", "dry_run": True}, request_only=True),
        ],
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Restore it, by a worker: into a `new` tenant, in the place of the `same` tenant's schema, or `tables` alone.

        With `dry_run` nothing is done, and the answer tells what would change, what would be lost and how long it
        takes. Poll `Location`: its `progress` and `result` tell how far it is. The credentials of a new tenant are
        collected from the finished operation.
        """
        body = self.valid_body(RestoreSerializer, request)
        backup = get_backup(pk)
        if body.pop("dry_run", False):
            return Response(represent(PreviewSerializer, _preview(backup, body).as_dict()))
        if body["target"] == "new" and bound_tenant(request) is not None:
            self.permission_denied(request, "This API key is bound to one tenant.", "tenant_bound_key")
        caller: dict[str, Any] = {"actor": actor_of(request), "source": source_of(request)}
        chosen = {key: value for key, value in body.items() if key != "target"}
        services: dict[str, Any] = {
            "new": restore.restore_to_new, "same": restore.restore_same, "tables": restore.restore_tables
        }  # fmt: skip
        return accepted(services[body["target"]](backup=backup, **chosen, **caller).operation)

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """The restore that a request which died had begun."""
        return _begun(request, earlier, "backup.restore", "backup.restore_copy", "backup.restore_tables")


def _begun(request: Request, earlier: tuple[str, ...], *kinds: str) -> Response | None:
    actor = actor_of(request)
    begun = Operation.objects.filter(
        request_id__in=earlier, actor_kind=actor.kind, actor_id=actor.id, channel="rest", kind__in=kinds
    ).order_by("created_at")
    last = begun.last()
    return accepted(last) if last else None


def _preview(backup: Backup, body: dict[str, Any]) -> preview.Preview:
    if body["target"] != "new":
        if backup.tenant is None:
            raise Conflict("The backup's tenant is gone.", code="wrong_state", hint="Restore into a new one.")
        if body["target"] == "tables":
            return preview.preview_tables(backup=backup, tenant=backup.tenant, names=body.get("tables") or [])
        return preview.preview_same(backup=backup, tenant=backup.tenant)
    name = body.get("cluster") or (backup.cluster.name if backup.cluster else None)
    cluster = Cluster.objects.filter(name=name).first() if name else Cluster.objects.filter(is_default=True).first()
    if cluster is None:
        raise InvalidInput(f"There is no cluster '{name}'.", field="cluster")
    return preview.preview_copy(backup=backup, slug=body["slug"], cluster=cluster)


class TenantKeptSchemas(ApiView):
    """What restores have set aside of a tenant."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.all()
    serializer_class = KeptSchemaSerializer
    paginated = True
    ordering = ("created_at", "id")
    required_scopes = {"GET": "backups:read"}
    required_permissions = {"GET": "backups.view_backup"}

    @extend_schema(operation_id="list_kept_schemas", responses=KeptSchemaSerializer(many=True))
    def get(self, request: Request, pk: UUID) -> Response:
        """A page of what was set aside, newest first; dropped ones included."""
        if not self.get_queryset().filter(pk=pk).exists():
            raise NotFound(f"There is no tenant {pk}.")
        rows: Any = self.paginate_queryset(KeptSchema.objects.filter(tenant=pk).exclude(state="restoring")) or []
        return self.get_paginated_response([represent(KeptSchemaSerializer, row) for row in rows])


class _OfKept(ApiView):
    """An act on what was set aside."""

    tenant_lookup = "tenant_id"
    noun = "kept schema"
    queryset = KeptSchema.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"POST": "backups:restore"}
    confirmed_methods = frozenset({"POST"})
    required_permissions = {"POST": "backups.restore_backup"}


class KeptSchemaConfirm(_OfKept):
    """A restore was right."""

    @extend_schema(
        operation_id="confirm_restore", request=ConfirmRestoreSerializer, responses={202: OperationSerializer}
    )
    def post(self, request: Request, pk: int) -> Response:
        """Drop what the restore replaced, by a worker. After that it cannot be undone."""
        body = self.valid_body(ConfirmRestoreSerializer, request)
        operation = kept_services.confirm_restore(
            kept=kept_services.get_kept(pk), **body, actor=actor_of(request), source=source_of(request)
        )
        return accepted(operation)

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """What a request which died had begun."""
        return _begun(request, earlier, "backup.drop_kept")


class KeptSchemaUndo(_OfKept):
    """A restore was wrong."""

    @extend_schema(operation_id="undo_restore", request=UndoRestoreSerializer, responses={202: OperationSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Put back what the restore replaced, by a worker; what was written since is set aside in turn."""
        body = self.valid_body(UndoRestoreSerializer, request)
        operation = kept_services.undo_restore(
            kept=kept_services.get_kept(pk), **body, actor=actor_of(request), source=source_of(request)
        )
        return accepted(operation)

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """What a request which died had begun."""
        return _begun(request, earlier, "backup.undo_restore")


class BackupDrill(ApiView):
    """Proving a backup."""

    tenant_lookup = "tenant_id"
    noun = "backup"
    queryset = Backup.objects.all()
    serializer_class = OperationSerializer
    required_scopes = {"POST": "backups:write"}
    required_permissions = {"POST": "backups.run_restoredrill"}

    @extend_schema(operation_id="drill_backup", request=DrillSerializer, responses={202: OperationSerializer})
    def post(self, request: Request, pk: UUID) -> Response:
        """Restore it into a scratch schema, compare that with the snapshot, and drop it, by a worker."""
        body = self.valid_body(DrillSerializer, request)
        begun = drills.run_drill(backup=get_backup(pk), **body, actor=actor_of(request), source=source_of(request))
        return accepted(begun.operation)

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """What a request which died had begun."""
        return _begun(request, earlier, "backup.drill")


class TenantRecovery(ApiView):
    """How well a tenant could be restored."""

    tenant_lookup = "pk"
    noun = "tenant"
    queryset = Tenant.objects.all()
    serializer_class = RecoverySerializer
    required_scopes = {"GET": "backups:read"}
    required_permissions = {"GET": "backups.view_backup"}

    @extend_schema(operation_id="get_tenant_recovery", responses=RecoverySerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """The last good backup, the last proven restore, and how long a restore would take now."""
        tenant = self.get_queryset().select_related("cluster").filter(pk=pk).first()
        if tenant is None:
            raise NotFound(f"There is no tenant {pk}.")
        return Response(represent(RecoverySerializer, recovery.of_tenant(tenant)))
