"""The database itself refuses to change the audit log, whoever asks and by whichever door."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON tenants_auditevent
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON tenants_auditevent
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
-- ALWAYS: they fire under session_replication_role = replica too.
ALTER TABLE tenants_auditevent ENABLE ALWAYS TRIGGER audit_no_change;
ALTER TABLE tenants_auditevent ENABLE ALWAYS TRIGGER audit_no_truncate;
"""
BACKWARD = """
DROP TRIGGER audit_no_truncate ON tenants_auditevent;
DROP TRIGGER audit_no_change ON tenants_auditevent;
DROP FUNCTION refuse_audit_change();
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
