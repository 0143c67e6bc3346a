from django.urls import path

from backups import restore_views, views
from backups.pitr.rest import TenantRestore

urlpatterns = [
    path("tenants/<uuid:pk>/backup", views.TenantBackup.as_view(), name="tenant-backup"),
    path("tenants/<uuid:pk>/restore", TenantRestore.as_view(), name="tenant-restore"),
    path("tenants/<uuid:pk>/backups", views.TenantBackups.as_view(), name="tenant-backups"),
    path("backups", views.BackupList.as_view(), name="backup-list"),
    path("backups/<uuid:pk>", views.BackupResource.as_view(), name="backup-detail"),
    path("backups/<uuid:pk>/verify", views.BackupVerify.as_view(), name="backup-verify"),
    path("backups/<uuid:pk>/restore", restore_views.BackupRestore.as_view(), name="backup-restore"),
    path("backups/<uuid:pk>/drill", restore_views.BackupDrill.as_view(), name="backup-drill"),
    path("tenants/<uuid:pk>/recovery", restore_views.TenantRecovery.as_view(), name="tenant-recovery"),
    path("tenants/<uuid:pk>/kept-schemas", restore_views.TenantKeptSchemas.as_view(), name="tenant-kept-schemas"),
    path("kept-schemas/<int:pk>/confirm", restore_views.KeptSchemaConfirm.as_view(), name="kept-schema-confirm"),
    path("kept-schemas/<int:pk>/undo", restore_views.KeptSchemaUndo.as_view(), name="kept-schema-undo"),
]
