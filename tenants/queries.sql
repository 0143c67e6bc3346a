-- name: inspect_server
-- What a cluster is and what our login may do there: decides whether it can hold tenants.
SELECT current_setting('server_version_num')::int AS version_num,
       current_database() AS dbname,
       pg_is_in_recovery() AS in_recovery,
       r.rolsuper OR r.rolcreaterole
         OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                    WHERE n.nspname = 'cp' AND has_schema_privilege(n.oid, 'USAGE')
                      AND p.proname = 'create_roles' AND has_function_privilege(p.oid, 'EXECUTE')) AS can_create_roles,
       r.rolsuper OR has_database_privilege(current_database(), 'CREATE') AS can_create_schemas,
       r.rolsuper OR pg_has_role('pg_signal_backend', 'USAGE') AS can_end_sessions,
       r.rolsuper OR has_parameter_privilege('temp_file_limit', 'SET') AS can_limit_temp_files,
       to_regrole('cp_tenants') IS NOT NULL AS prepared,
       current_setting('max_connections')::int AS max_connections,
       (SELECT system_identifier FROM pg_control_system()) AS system_identifier
FROM pg_roles r
WHERE r.rolname = current_user;

-- name: list_extensions
-- Extensions of the database, with their versions and the schemas they live in.
SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
ORDER BY 1;

-- name: functions
-- Whether the functions of prepare.sql are installed and ours to call. (A schema we may not use hides them.)
SELECT has_schema_privilege(n.oid, 'USAGE') AND to_regprocedure('cp.version()') IS NOT NULL
FROM pg_namespace n WHERE n.nspname = 'cp';

-- name: take_functions
-- Statements by which the functions of prepare.sql become the present login's, and the control plane's login may call them.
SELECT format('ALTER SCHEMA cp OWNER TO %%I', current_user)
UNION ALL
SELECT format('ALTER FUNCTION %%s OWNER TO %%I', p.oid::regprocedure, current_user)
FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'cp'::regnamespace AND p.proowner <> current_user::regrole
UNION ALL SELECT format('ALTER TABLE cp.verifiers OWNER TO %%I', current_user)
UNION ALL SELECT format('GRANT USAGE ON SCHEMA cp TO %%I', %(owner)s::text)
UNION ALL SELECT format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cp TO %%I', %(owner)s::text);

-- name: open_database
-- tenants/prepare.sql: the tenants of this database, and of no other, may connect to it.
SELECT cp.open_database();

-- name: database_exists
-- Whether the server has a database of this name.
SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %s);

-- name: role_exists
-- Whether the server has a role of this name.
SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s);

-- name: half_dropped
-- Whether a DROP DATABASE of it was interrupted: it can only be dropped again. (PostgreSQL 15.4 and later, src/backend/
-- commands/dbcommands.c: DATCONNLIMIT_INVALID_DB.)
SELECT datconnlimit = -2 FROM pg_catalog.pg_database WHERE datname = %s;

-- name: can_close_database
-- Whether tenants/prepare.sql's function is here and ours to call. (A schema we may not use hides it.)
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
               WHERE n.nspname = 'cp' AND has_schema_privilege(n.oid, 'USAGE') AND to_regprocedure('cp.close_database()') IS NOT NULL);

-- name: locale_clause
-- Encoding and locale of this database, as CREATE DATABASE takes them. The row is read as JSON, since columns differ
-- between versions.
SELECT format('ENCODING %L LC_COLLATE %L LC_CTYPE %L', pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)
       || CASE d.datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', coalesce(j ->> 'datlocale', j ->> 'daticulocale'))
                                WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', j ->> 'datlocale')
                                ELSE '' END
       || CASE WHEN j ->> 'daticurules' <> '' THEN format(' ICU_RULES %L', j ->> 'daticurules') ELSE '' END
FROM pg_catalog.pg_database AS d, to_jsonb(d) AS j WHERE d.datname = current_database();

-- name: join_host
-- tenants/prepare.sql: this tenant's own database is a guest of that database's.
SELECT cp.join_host(%s);

-- name: close_database
-- tenants/prepare.sql: nobody may connect to this tenant's own database any more; it is dropped next.
SELECT cp.close_database();
