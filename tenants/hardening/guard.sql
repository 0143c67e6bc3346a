-- What a tenant's migrator must not do to its own schema, seen to by event triggers. A superuser installs this, once a
-- database; every statement can be repeated.
--
-- Only sessions of tenants' logins are looked at, and of those only their own schema: the control plane's own work (the
-- replay of a clone script above all) leaves at the first line, and is proven afterwards by the schema's fingerprint.
CREATE OR REPLACE FUNCTION cp.guard() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  home text := substring(session_user from '^(t_[a-z2-7]{20})_');
  made regclass;
  bad text;
BEGIN
  IF home IS NULL THEN RETURN; END IF;
  -- New tables, partitions too, get row-level security before anything else. One command comes first: this trigger fires
  -- again for the commands that it runs itself.
  FOR made IN
    SELECT DISTINCT c.objid FROM pg_event_trigger_ddl_commands() c JOIN pg_class r ON r.oid = c.objid
    WHERE c.object_type = 'table' AND c.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
      AND c.schema_name = home AND r.relkind IN ('r', 'p') AND NOT r.relrowsecurity
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', made);
    EXECUTE format('CREATE POLICY tenant_rw ON %s FOR ALL TO %I, %I USING (true) WITH CHECK (true)',
                   made, home || '_owner', home || '_rw');
    EXECUTE format('CREATE POLICY tenant_ro ON %s FOR SELECT TO %I USING (true)', made, home || '_ro');
  END LOOP;
  bad := cp.guard_findings(home);
  IF bad IS NOT NULL THEN
    RAISE EXCEPTION 'tenant guard: %', bad USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

-- What is wrong with one schema's protection; NULL when nothing is.
CREATE OR REPLACE FUNCTION cp.guard_findings(schema_name text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH ns AS (
    SELECT n.*, to_regrole(n.nspname || '_owner')::oid AS owner,
           ARRAY[to_regrole(n.nspname || '_owner'), to_regrole(n.nspname || '_rw'), to_regrole(n.nspname || '_ro')]::oid[] AS family
    FROM pg_namespace n WHERE n.nspname = guard_findings.schema_name
  ), rel AS (
    SELECT c.*, ns.owner, ns.family FROM pg_class c JOIN ns ON ns.oid = c.relnamespace WHERE c.relkind NOT IN ('i', 'I', 't')
  ), finding AS (
    SELECT 'the schema is gone' AS what WHERE NOT EXISTS (SELECT FROM ns)
    UNION ALL SELECT 'the schema has another owner' FROM ns WHERE nspowner <> owner
    UNION ALL SELECT format('%s is without forced row-level security', relname) FROM rel
      WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)
    UNION ALL SELECT format('%s has another owner', relname) FROM rel WHERE relowner <> owner
    UNION ALL SELECT format('the policy %s on %s names a foreign role', p.polname, r.relname)
      FROM pg_policy p JOIN rel r ON r.oid = p.polrelid, unnest(p.polroles) x WHERE x <> 0 AND NOT x = ANY (r.family)
    UNION ALL SELECT format('a grant on %s is to %s', r.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END)
      FROM rel r, aclexplode(r.relacl) a WHERE NOT a.grantee = ANY (r.family)
    UNION ALL SELECT format('%s on %s is granted', a.privilege_type, r.relname)
      FROM rel r, aclexplode(r.relacl) a
      WHERE r.relkind IN ('r', 'p') AND a.grantee <> r.owner AND a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    UNION ALL SELECT format('a grant on a column of %s is to a foreign role', r.relname)
      FROM rel r JOIN pg_attribute c ON c.attrelid = r.oid AND c.attacl IS NOT NULL, aclexplode(c.attacl) a WHERE NOT a.grantee = ANY (r.family)
    UNION ALL SELECT 'a grant on the schema is to a foreign role' FROM ns, aclexplode(nspacl) a WHERE NOT a.grantee = ANY (family)
    UNION ALL SELECT 'CREATE on the schema is granted' FROM ns, aclexplode(nspacl) a WHERE a.grantee <> owner AND a.privilege_type = 'CREATE'
    UNION ALL SELECT format('%s is SECURITY DEFINER', p.oid::regprocedure) FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace WHERE p.prosecdef
    UNION ALL SELECT format('%s has another owner', p.oid::regprocedure) FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace WHERE p.proowner <> ns.owner
    UNION ALL SELECT format('%s is granted to a foreign role', p.oid::regprocedure)
      FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
      WHERE NOT a.grantee = ANY (ns.family)
    UNION ALL SELECT format('default privileges are for a foreign role') FROM ns JOIN pg_default_acl d ON d.defaclrole = ns.owner, aclexplode(d.defaclacl) a
      WHERE NOT a.grantee = ANY (ns.family)
    UNION ALL SELECT format('default privileges give %s on tables', a.privilege_type) FROM ns JOIN pg_default_acl d ON d.defaclrole = ns.owner, aclexplode(d.defaclacl) a
      WHERE d.defaclobjtype = 'r' AND a.grantee <> ns.owner AND a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  )
  SELECT string_agg(what, '; ') FROM finding
$$;

-- Policies are never dropped by a tenant (but with their table), nor is its schema.
CREATE OR REPLACE FUNCTION cp.guard_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF session_user !~ '^t_[a-z2-7]{20}_' THEN RETURN; END IF;
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE original AND object_type IN ('policy', 'schema')) THEN
    RAISE EXCEPTION 'tenant guard: policies and schemas are the control plane''s to drop' USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

REVOKE ALL ON FUNCTION cp.guard(), cp.guard_drop(), cp.guard_findings(text) FROM PUBLIC;
DROP EVENT TRIGGER IF EXISTS tenant_guard;
CREATE EVENT TRIGGER tenant_guard ON ddl_command_end EXECUTE FUNCTION cp.guard();
DROP EVENT TRIGGER IF EXISTS tenant_guard_drop;
CREATE EVENT TRIGGER tenant_guard_drop ON sql_drop EXECUTE FUNCTION cp.guard_drop();
