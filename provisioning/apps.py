from django.apps import AppConfig


class ProvisioningConfig(AppConfig):
    name = "provisioning"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell the operations who carries out which kind of work."""
        from provisioning import workflows  # models must be loaded first

        workflows.register()
