-- name: existing_roles
-- Which of these roles exist.
SELECT rolname FROM pg_roles WHERE rolname = ANY(%s);

-- name: schema_exists
-- Whether a schema of this name exists.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s);

-- name: end_sessions
-- Ends every session of these logins, and says how many there were.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = ANY(%s);

-- name: count_sessions
-- Open sessions of these logins.
SELECT count(*) FROM pg_stat_activity WHERE usename = ANY(%s);

-- name: can_log_in
-- Which of these roles may log in.
SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND rolcanlogin;

-- name: create_roles
-- tenants/prepare.sql: a schema's roles, none of which can log in.
SELECT cp.create_roles(%s, %s);

-- name: take_owner
-- tenants/prepare.sql: the session may become the schema's owner.
SELECT cp.take_owner(%s);

-- name: release_owner
-- tenants/prepare.sql: and no longer.
SELECT cp.release_owner(%s);

-- name: set_limits
-- tenants/prepare.sql: connection limit and settings of logins.
SELECT cp.set_limits(%s, %s, %s, %s);

-- name: set_password
-- tenants/prepare.sql: a login's new verifier.
SELECT cp.set_password(%s, %s, %s);

-- name: open_logins
-- tenants/prepare.sql: logins may log in, with the passwords they have.
SELECT cp.open_logins(%s, %s);

-- name: close_logins
-- tenants/prepare.sql: no more logging in.
SELECT cp.close_logins(%s, %s, %s);

-- name: drop_roles
-- tenants/prepare.sql: all of a schema's roles.
SELECT cp.drop_roles(%s);

-- name: droppable_relations
-- Some of a schema's tables, partitions and materialized views, most dependent first. pg_depend's index on the
-- referenced object is used, since no index of pg_class leads with the namespace.
SELECT c.relkind::text, c.relname
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
  AND d.refobjid = to_regnamespace(%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relispartition DESC, c.relkind IN ('v', 'm') DESC, c.oid DESC
LIMIT %s;

-- name: tenant_schemas
-- Every schema on the cluster that has the form of a tenant's.
SELECT nspname FROM pg_namespace WHERE nspname ~ '^t_[a-z2-7]{20}$';

-- name: open_migrator
-- tenants/prepare.sql: a login that acts as the schema's owner until a moment.
SELECT cp.open_migrator(%s, %s, %s, %s);

-- name: drop_migrator
-- tenants/prepare.sql: and no longer.
SELECT cp.drop_migrator(%s);

-- name: open_credential
-- tenants/prepare.sql: an additional login, until a moment.
SELECT cp.open_credential(%s, %s, %s, %s, %s, %s, %s);

-- name: drop_credential
-- tenants/prepare.sql: and no longer.
SELECT cp.drop_credential(%s, %s);

-- name: additional_logins
-- The additional logins of a schema that exist. The range is that of an index on the names.
SELECT rolname::text FROM pg_roles
WHERE rolname >= (%(schema)s || '_ro_')::name AND rolname < (%(schema)s || '_rx')::name AND rolname ~ '_r[ow]_[a-z2-7]{6}$'
ORDER BY 1;

-- name: last_seen
-- How many seconds ago a session of each of these logins last did something: 0 for one that is at it now.
SELECT usename::text, min(CASE WHEN state = 'idle' THEN greatest(extract(epoch FROM now() - state_change), 0) ELSE 0 END)::float
FROM pg_stat_activity
WHERE usename = ANY(%s) AND backend_type = 'client backend'
GROUP BY usename;

-- name: guard_findings
-- tenants/hardening/guard.sql: what is wrong with a schema's protection.
SELECT cp.guard_findings(%s);

-- name: switch_schemas
-- tenants/prepare.sql: one schema in the place of another, which goes on under a third name.
SELECT cp.switch_schemas(%s, %s, %s);

-- name: routines_naming
-- Routines of a schema whose text (body or settings) holds a name, as statements that make them again. With an empty
-- search_path all names in them are qualified.
SELECT pg_get_functiondef(p.oid)
FROM pg_proc AS p
WHERE p.pronamespace = %(schema)s::regnamespace AND p.prokind IN ('f', 'p', 'w')
  AND (strpos(p.prosrc, %(name)s) > 0 OR strpos(array_to_string(p.proconfig, ' '), %(name)s) > 0);

-- name: end_schema_users
-- Ends other sessions that hold a lock on a relation of this schema, and says how many.
SELECT count(pg_terminate_backend(pid)) FROM (
  SELECT DISTINCT l.pid
  FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
  WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND c.relnamespace = to_regnamespace(%s) AND l.pid <> pg_backend_pid()
) AS holding;
