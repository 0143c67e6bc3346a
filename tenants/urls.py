from django.urls import path

from tenants import isolation_views, views

urlpatterns = [
    path("operations", views.OperationList.as_view(), name="operation-list"),
    path("operations/<uuid:pk>", views.OperationDetail.as_view(), name="operation-detail"),
    path("operations/<uuid:pk>/cancel", views.OperationCancel.as_view(), name="operation-cancel"),
    path("operations/<uuid:pk>/retry", views.OperationRetry.as_view(), name="operation-retry"),
    path("audit-events", views.AuditEventList.as_view(), name="audit-event-list"),
    path("audit-events/<int:pk>", views.AuditEventDetail.as_view(), name="audit-event-detail"),
    path("audit-events/export", views.AuditEventExport.as_view(), name="audit-event-export"),
    path("audit-log", views.AuditLog.as_view(), name="audit-log"),
    path("clusters", views.ClusterList.as_view(), name="cluster-list"),
    path("clusters/<int:pk>", views.ClusterDetail.as_view(), name="cluster-detail"),
    path("isolation-findings", isolation_views.IsolationFindingList.as_view(), name="isolation-finding-list"),
    path("isolation-attempts", isolation_views.IsolationAttemptList.as_view(), name="isolation-attempt-list"),
    path("plans", views.PlanList.as_view(), name="plan-list"),
]
