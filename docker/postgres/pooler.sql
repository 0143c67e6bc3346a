-- What PgBouncer needs in the tenants' database: a login that can do one thing, ask for a tenant's verifier.
ALTER ROLE pgbouncer LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 20;
GRANT CONNECT ON DATABASE controlplane TO pgbouncer;
CREATE SCHEMA IF NOT EXISTS pooler;
REVOKE ALL ON SCHEMA pooler FROM PUBLIC;
GRANT USAGE ON SCHEMA pooler TO pgbouncer;

-- Only tenants' logins pass: members of cp_tenants that have no rights of an administrator. A password that has
-- expired does not count, since PgBouncer itself does not look at its date.
CREATE OR REPLACE FUNCTION pooler.user_lookup(wanted text, OUT usename name, OUT passwd text)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT role.rolname, role.rolpassword
      FROM pg_catalog.pg_authid AS role
     WHERE role.rolname = wanted
       AND role.rolcanlogin
       AND NOT (role.rolsuper OR role.rolcreaterole OR role.rolcreatedb OR role.rolreplication OR role.rolbypassrls)
       AND pg_catalog.pg_has_role(role.oid, 'cp_tenants', 'MEMBER')
       AND (role.rolvaliduntil IS NULL OR role.rolvaliduntil > pg_catalog.now())
$$;
REVOKE ALL ON FUNCTION pooler.user_lookup(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pooler.user_lookup(text) TO pgbouncer;
