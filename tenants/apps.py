from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Registry"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have logins written into the audit log, and tell what the registry knows."""
        from tenants import figures, own_health, signals  # models must be loaded first

        signals.connect()
        figures.register()
        own_health.register_checks()
