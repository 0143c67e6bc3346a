from django.apps import AppConfig


class BackupsConfig(AppConfig):
    name = "backups"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell the operations who carries out which kind of work, and whoever watches how backups stand."""
        from backups import facts, health, restores, workflows  # models must be loaded first
        from backups.pitr import workflows as points_in_time

        workflows.register()
        restores.register()
        points_in_time.register()
        facts.register()
        health.register_checks()
