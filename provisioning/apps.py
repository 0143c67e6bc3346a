from django.apps import AppConfig


class ProvisioningConfig(AppConfig):
    name = "provisioning"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell the operations who carries out which kind of work, the others who makes tenants, and whoever watches how
        full the pools are."""
        from provisioning import facts, founding, health, workflows  # models must be loaded first
        from tenants.founding import register

        workflows.register()
        register(founding.SlotFounder())
        facts.register()
        health.register_checks()
