from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "monitoring"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell how long servers have been silent, and what samples say of a tenant's health."""
        from monitoring import figures  # models must be loaded first
        from monitoring.health import sampled

        figures.register()
        sampled.register_checks()
