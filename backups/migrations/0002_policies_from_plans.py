"""What plans said about backups becomes policies; the one for all other plans is made."""

from django.db import migrations

SCHEDULE, KEEP_DAYS = "0 2 * * *", 14


def policies_from_plans(apps, schema_editor):
    policies = apps.get_model("backups", "BackupPolicy").objects
    policies.get_or_create(plan=None)
    for plan in apps.get_model("tenants", "Plan").objects.order_by("pk"):
        if (plan.backup_schedule, plan.backup_keep_days) != (SCHEDULE, KEEP_DAYS):
            policies.get_or_create(
                plan=plan, defaults={"schedule": plan.backup_schedule, "keep_daily": min(plan.backup_keep_days, 3660)}
            )


class Migration(migrations.Migration):
    dependencies = [("backups", "0001_initial")]
    operations = [migrations.RunPython(policies_from_plans, migrations.RunPython.noop)]
