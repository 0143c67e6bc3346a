from django.urls import path

from backups import views

urlpatterns = [
    path("tenants/<uuid:pk>/backup", views.TenantBackup.as_view(), name="tenant-backup"),
    path("tenants/<uuid:pk>/backups", views.TenantBackups.as_view(), name="tenant-backups"),
    path("backups", views.BackupList.as_view(), name="backup-list"),
    path("backups/<uuid:pk>", views.BackupResource.as_view(), name="backup-detail"),
    path("backups/<uuid:pk>/verify", views.BackupVerify.as_view(), name="backup-verify"),
]
