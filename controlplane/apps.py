from django.apps import AppConfig


class ControlplaneConfig(AppConfig):
    name = "controlplane"

    def ready(self) -> None:
        """Load the Celery application: without it tasks would be sent to a broker that nobody configured.

        And the checks of the settings, which register themselves.
        """
        import controlplane.celery
        import controlplane.checks  # noqa: F401
