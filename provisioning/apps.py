from django.apps import AppConfig


class ProvisioningConfig(AppConfig):
    name = "provisioning"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell the operations who carries out which kind of work, and the others who makes tenants."""
        from provisioning import founding, workflows  # models must be loaded first
        from tenants.founding import register

        workflows.register()
        register(founding.SlotFounder())
