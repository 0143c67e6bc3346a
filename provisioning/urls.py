from django.urls import path

from provisioning import credential_views, migrator_views, views

urlpatterns = [
    path("tenants", views.TenantCollection.as_view(), name="tenant-list"),
    path("tenants/<uuid:pk>", views.TenantResource.as_view(), name="tenant-detail"),
    path("tenants/<uuid:pk>/suspend", views.TenantSuspend.as_view(), name="tenant-suspend"),
    path("tenants/<uuid:pk>/resume", views.TenantResume.as_view(), name="tenant-resume"),
    path("tenants/<uuid:pk>/undelete", views.TenantUndelete.as_view(), name="tenant-undelete"),
    path("tenants/<uuid:pk>/rotate-credentials", views.TenantRotate.as_view(), name="tenant-rotate"),
    path("tenants/<uuid:pk>/purge", views.TenantPurge.as_view(), name="tenant-purge"),
    path("purge-requests", views.PurgeRequestList.as_view(), name="purge-request-list"),
    path("purge-requests/<uuid:pk>", views.PurgeRequestDetail.as_view(), name="purge-request-detail"),
    path("purge-requests/<uuid:pk>/approve", views.PurgeRequestApprove.as_view(), name="purge-request-approve"),
    path("purge-requests/<uuid:pk>/reject", views.PurgeRequestReject.as_view(), name="purge-request-reject"),
    path("tenants/<uuid:pk>/credentials", credential_views.TenantCredentials.as_view(), name="tenant-credentials"),
    path(
        "tenants/<uuid:pk>/credentials/<uuid:credential_pk>",
        credential_views.CredentialResource.as_view(),
        name="tenant-credential",
    ),
    path("tenants/<uuid:pk>/migrator", migrator_views.TenantMigrator.as_view(), name="tenant-migrator"),
    path("tenants/<uuid:pk>/reveal-credentials", credential_views.TenantReveal.as_view(), name="tenant-reveal"),
    path("operations/<uuid:pk>/credentials", views.OperationCredentials.as_view(), name="operation-credentials"),
    path("templates", views.TemplateList.as_view(), name="template-list"),
]
