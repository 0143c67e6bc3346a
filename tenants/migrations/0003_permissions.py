"""What may be allowed apart from looking, adding and changing."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_append_only_audit_log")]
    operations = [
        migrations.AlterModelOptions(
            name="apikey",
            options={
                "ordering": ["-created_at"],
                "permissions": [("revoke_apikey", "Can revoke an API key")],
                "verbose_name": "API key",
            },
        ),
        migrations.AlterModelOptions(
            name="cluster",
            options={
                "ordering": ["name"],
                "permissions": [("check_cluster", "Can have a cluster checked now")],
            },
        ),
        migrations.AlterModelOptions(
            name="operation",
            options={
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("cancel_operation", "Can cancel an operation"),
                    ("retry_operation", "Can try an operation again"),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name="tenant",
            options={
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("suspend_tenant", "Can suspend a tenant"),
                    ("resume_tenant", "Can resume a tenant"),
                    ("undelete_tenant", "Can bring a deleted tenant back"),
                    ("purge_tenant", "Can purge a tenant for good"),
                    ("rotate_tenant", "Can rotate a tenant's credentials"),
                    ("collect_credentials", "Can collect a tenant's new credentials, once"),
                ],
            },
        ),
    ]
