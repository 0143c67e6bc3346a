-- What PgBouncer needs in a database: a login that can do one thing, ask for the verifier of a tenant's login.
--
-- Run by a superuser, once in each database and after tenants/prepare.sql; every statement can be repeated. Whoever owns
-- the function reads pg_authid, which nobody but a superuser may.
DO $$ BEGIN
  IF to_regrole('cp_pooler') IS NULL THEN
    CREATE ROLE cp_pooler;
  END IF;
END $$;
ALTER ROLE cp_pooler LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 50;
GRANT USAGE ON SCHEMA cp TO cp_pooler;
DO $$ BEGIN
  IF current_database() <> 'template1' THEN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO cp_pooler', current_database());
  END IF;
END $$;

-- Only logins of this database's tenants pass: members of its group by a tenant's name, that may log in and have no rights
-- of an administrator. A password that has expired does not count, since PgBouncer itself does not look at its date.
CREATE OR REPLACE FUNCTION cp.pooler_lookup(wanted text, OUT usename name, OUT passwd text)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT role.rolname, role.rolpassword
    FROM pg_catalog.pg_authid AS role
   WHERE role.rolname = wanted
     AND role.rolname ~ '^t_[a-z2-7]{20}_'
     AND role.rolcanlogin
     AND NOT (role.rolsuper OR role.rolcreaterole OR role.rolcreatedb OR role.rolreplication OR role.rolbypassrls)
     AND pg_catalog.pg_has_role(role.oid, pg_catalog.to_regrole(cp.tenants_group(pg_catalog.current_database()))::oid, 'MEMBER')
     AND (role.rolvaliduntil IS NULL OR role.rolvaliduntil > pg_catalog.now())
$$;

-- For nobody but the pooler (its own login, or the one that prepare_cluster makes for a database), whoever was granted all functions of the schema.
DO $$
DECLARE grantee record;
BEGIN
  FOR grantee IN
    SELECT DISTINCT acl.grantee AS id FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS acl
     WHERE p.oid = 'cp.pooler_lookup(text)'::regprocedure AND acl.grantee <> p.proowner
       AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = acl.grantee AND r.rolname ~ '^cp_pooler_[0-9a-f]{8}$')
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION cp.pooler_lookup(text) FROM %s',
                   CASE grantee.id WHEN 0 THEN 'PUBLIC' ELSE grantee.id::regrole::text END);
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION cp.pooler_lookup(text) TO cp_pooler;
