from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ControlplaneConfig(AppConfig):
    name = "controlplane"

    def ready(self) -> None:
        """Load the Celery application: without it tasks would be sent to a broker that nobody configured.

        And the checks of the settings, which register themselves.
        """
        import controlplane.celery
        import controlplane.checks  # noqa: F401


class ControlplaneAdminConfig(AdminConfig):
    """Django's admin on our own site."""

    default_site = "controlplane.admin_site.ControlPlaneAdminSite"
