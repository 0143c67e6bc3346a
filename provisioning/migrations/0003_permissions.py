"""What may be allowed apart from looking."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("provisioning", "0002_immutable_versions")]
    operations = [
        migrations.AlterModelOptions(
            name="schemaslot",
            options={
                "ordering": ["-id"],
                "permissions": [("fill_pool", "Can fill a pool of slots")],
                "verbose_name": "slot",
            },
        ),
    ]
