from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "monitoring"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell how long servers have been silent."""
        from monitoring import figures  # models must be loaded first

        figures.register()
