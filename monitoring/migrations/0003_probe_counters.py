import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0002_alerts'),
    ]

    operations = [
        migrations.CreateModel(
            name='ProbeCounters',
            fields=[
                ('state', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='counters', serialize=False, to='monitoring.probestate')),
                ('packed', models.BinaryField()),
            ],
            options={
                'default_permissions': (),
            },
        ),
    ]
