from django.urls import path

from monitoring import alert_views as views
from monitoring import health_views

urlpatterns = [
    path("alerts", views.AlertList.as_view(), name="alert-list"),
    path("alerts/<int:pk>", views.AlertResource.as_view(), name="alert-detail"),
    path("alerts/<int:pk>/acknowledge", views.AlertAcknowledge.as_view(), name="alert-acknowledge"),
    path("alerts/<int:pk>/silence", views.AlertSilence.as_view(), name="alert-silence"),
    path("alert-rules", views.AlertRuleList.as_view(), name="alert-rule-list"),
    path("alert-rules/<int:pk>", views.AlertRuleResource.as_view(), name="alert-rule-detail"),
    path("alert-rules/<int:pk>/silence", views.AlertRuleSilence.as_view(), name="alert-rule-silence"),
    path("notification-channels", views.ChannelList.as_view(), name="notification-channel-list"),
    path("notification-channels/<int:pk>/test", views.ChannelTest.as_view(), name="notification-channel-test"),
    path("tenants/<uuid:pk>/health", health_views.TenantHealth.as_view(), name="tenant-health"),
]
