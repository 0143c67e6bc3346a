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
