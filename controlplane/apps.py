from django.apps import AppConfig


class ControlplaneConfig(AppConfig):
    name = "controlplane"

    def ready(self) -> None:
        """Load the Celery application: without it tasks would be sent to a broker that nobody configured."""
        import controlplane.celery  # noqa: F401
