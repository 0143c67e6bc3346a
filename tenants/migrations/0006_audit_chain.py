"""Seals that chain the events, checkpoints that are signed, and what verifications found."""

from django.db import migrations, models


STATE = """
INSERT INTO tenants_auditsealer (id, log_id, scan_from) VALUES (1, gen_random_uuid(), 1);
"""
TRIGGERS = """
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON tenants_auditseal
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON tenants_auditseal
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
ALTER TABLE tenants_auditseal ENABLE ALWAYS TRIGGER audit_no_change;
ALTER TABLE tenants_auditseal ENABLE ALWAYS TRIGGER audit_no_truncate;
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON tenants_auditcheckpoint
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON tenants_auditcheckpoint
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
ALTER TABLE tenants_auditcheckpoint ENABLE ALWAYS TRIGGER audit_no_change;
ALTER TABLE tenants_auditcheckpoint ENABLE ALWAYS TRIGGER audit_no_truncate;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0005_isolation_levels'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditSeal',
            fields=[
                ('seq', models.BigIntegerField(primary_key=True, serialize=False)),
                ('event_id', models.BigIntegerField(unique=True)),
                ('sealed_at', models.DateTimeField()),
                ('digest', models.BinaryField(max_length=32)),
                ('hash', models.BinaryField(max_length=32)),
            ],
            options={
                'ordering': ['seq'],
            },
        ),
        migrations.CreateModel(
            name='AuditSink',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('url', models.CharField(max_length=500, unique=True)),
                ('delivered', models.BigIntegerField(default=0)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('last_error', models.CharField(blank=True, max_length=500)),
            ],
            options={
                'ordering': ['url'],
            },
        ),
        migrations.CreateModel(
            name='AuditVerification',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField()),
                ('ok', models.BooleanField()),
                ('full', models.BooleanField()),
                ('from_seq', models.BigIntegerField()),
                ('to_seq', models.BigIntegerField()),
                ('events', models.BigIntegerField()),
                ('checkpoints', models.IntegerField()),
                ('findings', models.JSONField(blank=True, default=list)),
                ('notices', models.JSONField(blank=True, default=list)),
                ('actor_label', models.CharField(max_length=150)),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('run_auditverification', 'Can have the audit log verified now')],
            },
        ),
        migrations.CreateModel(
            name='AuditCheckpoint',
            fields=[
                ('number', models.BigIntegerField(primary_key=True, serialize=False)),
                ('seq', models.BigIntegerField()),
                ('at', models.DateTimeField()),
                ('document', models.TextField()),
            ],
            options={
                'ordering': ['-number'],
                'indexes': [models.Index(fields=['seq'], name='audit_checkpoint_seq')],
            },
        ),
        migrations.CreateModel(
            name='AuditSealer',
            fields=[
                ('id', models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('log_id', models.UUIDField()),
                ('scan_from', models.BigIntegerField(default=1)),
                ('mark_id', models.BigIntegerField(null=True)),
                ('mark_xid', models.BigIntegerField(null=True)),
                ('mark_at', models.DateTimeField(null=True)),
                ('ran_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='audit_one_sealer')],
            },
        ),
        migrations.RunSQL(STATE, migrations.RunSQL.noop),
        migrations.RunSQL(TRIGGERS, migrations.RunSQL.noop),
    ]
