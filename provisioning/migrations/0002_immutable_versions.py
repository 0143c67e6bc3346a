"""A template version never changes: only fingerprints measured on further PostgreSQL majors may be added."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION refuse_version_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (to_jsonb(NEW) - 'fingerprints') IS DISTINCT FROM (to_jsonb(OLD) - 'fingerprints')
     OR NOT NEW.fingerprints @> OLD.fingerprints THEN
    RAISE EXCEPTION 'a template version is immutable; import a new one' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER template_version_immutable BEFORE UPDATE ON provisioning_templateversion
  FOR EACH ROW EXECUTE FUNCTION refuse_version_change();
"""
BACKWARD = """
DROP TRIGGER template_version_immutable ON provisioning_templateversion;
DROP FUNCTION refuse_version_change();
"""


class Migration(migrations.Migration):
    dependencies = [("provisioning", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
