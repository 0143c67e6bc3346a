from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from controlplane import health
from controlplane.documentation import DocumentationView, SchemaView
from controlplane.metrics.views import metrics, metrics_of_tenants
from controlplane.problem_catalogue import explain

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics),
    path("metrics/tenants", metrics_of_tenants),
    path("problems", explain),
    path("problems/<slug:code>", explain),
    path("api/v1/schema", SchemaView.as_view(), name="schema"),
    path("api/v1/docs", DocumentationView.as_view(), name="docs"),
    path("api/v1/", include("provisioning.urls")),
    path("api/v1/", include("backups.urls")),
    path("api/v1/", include("monitoring.urls")),
    path("api/v1/", include("tenants.urls")),
]
