-- The proof from the catalog. Each statement tells of all tenants of the database at once, in rows (code, severity, schema,
-- offender, subject, detail): the schema is where it is, the offender the schema whose logins reach too far by it (empty:
-- all, or nobody). A role belongs to the schema by whose name its own begins; a grant to any other, to PUBLIC or to the
-- group of all tenants is a finding.

-- name: schemas
-- Every tenant schema of this database.
SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname ~ '^t_[a-z2-7]{20}$';

-- name: roles
-- Attributes and memberships of tenants' roles, and settings that take part in who they are or where they look.
WITH door AS (  -- the group of those who may connect to this database, as cp.tenants_group() names it
    SELECT 'cp_tenants_' || left(encode(sha256(convert_to(current_database(), 'UTF8')), 'hex'), 12) AS name
), role AS (
    SELECT r.*, left(r.rolname, 22) AS home, substr(r.rolname, 24) AS part
    FROM pg_catalog.pg_roles r
    WHERE r.rolname ~ '^t_[a-z2-7]{20}_' AND to_regnamespace(left(r.rolname, 22)) IS NOT NULL
), own AS (  -- the control plane's, which may be a member while it works, or administers what it made
    SELECT r.oid FROM pg_catalog.pg_roles r
    WHERE r.rolsuper OR r.rolname = session_user OR pg_has_role(r.oid, to_regrole('cp_operator')::oid, 'MEMBER')
       OR r.oid = (SELECT p.proowner FROM pg_catalog.pg_proc p WHERE p.oid = to_regprocedure('cp.version()'))
), shared AS (
    SELECT r.* FROM pg_catalog.pg_roles r, door
    WHERE r.rolname IN ('cp_tenants', 'cp_owners', door.name)
       OR r.rolname ~ '^cp_guests_[0-9a-f]{12}$'
)
SELECT 'role_attribute', 'critical', home, home, rolname::text, array_to_string(ARRAY[
         CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
         CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
         CASE WHEN rolbypassrls THEN 'BYPASSRLS' END], ', ')
FROM role WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
UNION ALL
SELECT 'role_attribute', 'critical', '', '', rolname::text, 'the group of all tenants has attributes'
FROM shared WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR rolcanlogin
UNION ALL
SELECT 'group_can_log_in', 'critical', home, home, rolname::text, 'LOGIN'
FROM role WHERE rolcanlogin AND part IN ('owner', 'rw', 'ro')
UNION ALL
SELECT 'no_connection_limit', 'warning', home, home, rolname::text, ''
FROM role WHERE rolcanlogin AND rolconnlimit < 0
UNION ALL
SELECT 'membership', 'critical', m.home, m.home, m.rolname::text, 'is a member of ' || g.rolname
       || CASE WHEN a.admin_option THEN ' and administers it' ELSE '' END
FROM door, pg_catalog.pg_auth_members a JOIN role m ON m.oid = a.member JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
WHERE a.admin_option
   OR NOT (g.rolname IN ('cp_tenants', door.name) OR (g.rolname = 'cp_owners' AND m.part = 'owner')
           OR (left(g.rolname, 23) = m.home || '_' AND (substr(g.rolname, 24) IN ('rw', 'ro')
               OR (substr(g.rolname, 24) = 'owner' AND m.part = 'mig'))))
UNION ALL
SELECT 'member', 'critical', g.home, coalesce(substring(m.rolname from '^(t_[a-z2-7]{20})_'), ''), g.rolname::text,
       m.rolname || ' is a member of it'
FROM pg_catalog.pg_auth_members a JOIN role g ON g.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member
WHERE left(m.rolname, 23) <> g.home || '_' AND a.member NOT IN (SELECT oid FROM own)
UNION ALL
SELECT 'membership', 'critical', '', '', m.rolname::text, 'is a member of ' || g.rolname
FROM door, pg_catalog.pg_auth_members a JOIN shared m ON m.oid = a.member JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
WHERE NOT (m.rolname IN ('cp_owners', door.name) AND g.rolname = 'cp_tenants')
  AND NOT (m.rolname = door.name AND g.rolname ~ '^cp_guests_[0-9a-f]{12}$')
UNION ALL
SELECT 'setting', CASE WHEN split_part(c, '=', 1) IN ('role', 'session_authorization') THEN 'critical' ELSE 'warning' END,
       r.home, r.home, r.rolname::text, split_part(c, '=', 1)
FROM role r JOIN pg_catalog.pg_db_role_setting s ON s.setrole = r.oid, unnest(s.setconfig) c
WHERE split_part(c, '=', 1) NOT IN ('search_path', 'statement_timeout', 'idle_in_transaction_session_timeout',
                                    'lock_timeout', 'temp_file_limit', 'default_transaction_read_only')
   OR (split_part(c, '=', 1) IN ('statement_timeout', 'idle_in_transaction_session_timeout')
       AND split_part(c, '=', 2) ~ '^0+[a-z]*$')
   OR (split_part(c, '=', 1) = 'temp_file_limit' AND split_part(c, '=', 2) LIKE '-%%')
UNION ALL
SELECT 'search_path', 'warning', r.home, r.home, r.rolname::text, 'looks in other schemas than its own first'
FROM role r JOIN pg_catalog.pg_db_role_setting s ON s.setrole = r.oid, unnest(s.setconfig) c
WHERE split_part(c, '=', 1) = 'search_path' AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
  AND (c !~ ('^search_path="?' || r.home || '"?(,|$)') OR EXISTS (
        SELECT FROM regexp_matches(c, '(t_[a-z2-7]{20})', 'g') x WHERE x[1] <> r.home));

-- name: grants
-- Privileges on tenants' schemas and all that is in them, of roles that are not theirs; owners that are not theirs.
WITH ns AS (
    SELECT n.oid, n.nspname::text AS home, n.nspowner, n.nspacl, to_regrole(n.nspname || '_owner')::oid AS owner
    FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^t_[a-z2-7]{20}$'
), object AS (
    SELECT 'schema' AS kind, ns.home, ns.home AS name, ns.nspowner AS owned_by, ns.owner,
           coalesce(ns.nspacl, acldefault('n', ns.nspowner)) AS acl
    FROM ns
    UNION ALL
    SELECT CASE WHEN c.relkind = 'S' THEN 'sequence' ELSE 'relation' END, ns.home, c.relname, c.relowner, ns.owner,
           coalesce(c.relacl, acldefault((CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END)::"char", c.relowner))
    FROM pg_catalog.pg_class c JOIN ns ON ns.oid = c.relnamespace WHERE c.relkind NOT IN ('i', 'I', 't', 'c')
    UNION ALL
    SELECT 'column', ns.home, c.relname || '.' || a.attname, c.relowner, c.relowner, a.attacl
    FROM pg_catalog.pg_class c JOIN ns ON ns.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'routine', ns.home, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner, ns.owner,
           coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_catalog.pg_proc p JOIN ns ON ns.oid = p.pronamespace
    -- A range type's constructors are PostgreSQL's own: they belong to the first superuser, and only build a value.
    WHERE NOT (p.prolang = (SELECT oid FROM pg_catalog.pg_language WHERE lanname = 'internal') AND EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i' AND d.refclassid = 'pg_type'::regclass))
    UNION ALL
    SELECT 'type', ns.home, t.typname, t.typowner, ns.owner, coalesce(t.typacl, acldefault('T', t.typowner))
    FROM pg_catalog.pg_type t JOIN ns ON ns.oid = t.typnamespace
    WHERE t.typelem = 0 AND t.typtype IN ('d', 'e', 'r', 'b') AND t.typname !~ '^_'
), granted AS (
    SELECT o.*, a.privilege_type, a.grantee, a.is_grantable,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END AS to_role
    FROM object o, aclexplode(o.acl) a WHERE a.grantee <> o.owned_by
)
SELECT 'owner', 'critical', home, coalesce(substring(pg_get_userbyid(owned_by) from '^(t_[a-z2-7]{20})_'), ''),
       kind || ' ' || name, 'belongs to ' || pg_get_userbyid(owned_by)
FROM object WHERE owned_by IS DISTINCT FROM owner
UNION ALL
SELECT 'grant', CASE WHEN kind = 'type' THEN 'warning' ELSE 'critical' END, home,
       coalesce(substring(to_role from '^(t_[a-z2-7]{20})_'), ''), kind || ' ' || name,
       string_agg(privilege_type, ', ' ORDER BY privilege_type) || ' to ' || to_role
FROM granted WHERE left(to_role, 23) <> home || '_'
GROUP BY kind, home, name, to_role
UNION ALL
SELECT 'unsafe_privilege', 'critical', home, home, kind || ' ' || name,
       string_agg(privilege_type, ', ' ORDER BY privilege_type) || ' to ' || to_role
FROM granted
WHERE left(to_role, 23) = home || '_'
  AND (is_grantable OR (kind = 'schema' AND privilege_type = 'CREATE')
       OR (kind IN ('relation', 'column') AND privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')))
GROUP BY kind, home, name, to_role;

-- name: row_security
-- Tables without forced row-level security, policies for foreign roles, SECURITY DEFINER, and what reaches from one
-- tenant's schema into another's: keys, inheritance, triggers, views.
WITH ns AS (
    SELECT n.oid, n.nspname::text AS home FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^t_[a-z2-7]{20}$'
), rel AS (
    SELECT c.oid, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, ns.home,
           -- A chunk of TimescaleDB's has no row-level security of its own, as a table read by itself: USAGE protects it.
           c.relname ~ '^_hyper_' AND EXISTS (
               SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relforcerowsecurity
               JOIN pg_catalog.pg_extension e ON e.extname = 'timescaledb' WHERE i.inhrelid = c.oid) AS is_chunk
    FROM pg_catalog.pg_class c JOIN ns ON ns.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
), crossing AS (
    SELECT a.home, a.relname, b.home AS other, 'a foreign key to ' || b.relname AS how
    FROM pg_catalog.pg_constraint k JOIN rel a ON a.oid = k.conrelid JOIN rel b ON b.oid = k.confrelid
    WHERE k.contype = 'f'
    UNION ALL
    SELECT a.home, a.relname, b.home, 'inherits from ' || b.relname
    FROM pg_catalog.pg_inherits i JOIN rel a ON a.oid = i.inhrelid JOIN rel b ON b.oid = i.inhparent
    UNION ALL
    SELECT a.home, a.relname, b.home, 'a trigger calls ' || p.proname
    FROM pg_catalog.pg_trigger t JOIN rel a ON a.oid = t.tgrelid JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN ns b ON b.oid = p.pronamespace
    UNION ALL
    SELECT a.home, a.relname, b.home, 'a view or rule on ' || b.relname
    FROM pg_catalog.pg_rewrite w JOIN rel a ON a.oid = w.ev_class
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
    JOIN rel b ON b.oid = d.refobjid
)
SELECT 'row_security', 'critical', home, '', relname::text,
       CASE WHEN relrowsecurity THEN 'row-level security is not forced' ELSE 'row-level security is off' END
FROM rel WHERE relkind IN ('r', 'p') AND NOT is_chunk AND NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL
SELECT 'no_policy', 'warning', home, '', relname::text, 'no policy lets its owner see a row'
FROM rel
WHERE relkind IN ('r', 'p') AND NOT is_chunk AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = rel.oid
      AND (p.polroles = '{0}' OR to_regrole(rel.home || '_owner')::oid = ANY (p.polroles)))
UNION ALL
-- A template may bring policies of its own; a table of which all are the control plane's has both of them.
SELECT 'no_policy', 'warning', home, '', relname::text, 'the policy ' || wanted || ' is gone'
FROM rel, unnest(ARRAY['tenant_rw', 'tenant_ro']) wanted
WHERE relkind IN ('r', 'p') AND NOT is_chunk
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = rel.oid AND p.polname NOT IN ('tenant_rw', 'tenant_ro'))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = rel.oid AND p.polname = wanted)
UNION ALL
SELECT 'policy', 'critical', rel.home, coalesce(substring(r.rolname from '^(t_[a-z2-7]{20})_'), ''),
       rel.relname || ' ' || p.polname, 'is for ' || r.rolname
FROM pg_catalog.pg_policy p JOIN rel ON rel.oid = p.polrelid, unnest(p.polroles) x
JOIN pg_catalog.pg_roles r ON r.oid = x WHERE left(r.rolname, 23) <> rel.home || '_'
UNION ALL
SELECT 'security_definer', 'critical', ns.home, '', p.oid::regprocedure::text, 'belongs to ' || pg_get_userbyid(p.proowner)
FROM pg_catalog.pg_proc p JOIN ns ON ns.oid = p.pronamespace WHERE p.prosecdef
UNION ALL
SELECT DISTINCT 'crosses_schemas', 'critical', home, home, relname || ' → ' || other, how
FROM crossing WHERE home <> other;

-- name: defaults
-- Default privileges: of tenants' owners to roles that are not theirs, or in their schemas by anybody; and owners whose
-- new functions would be everybody's.
WITH ns AS (
    SELECT n.oid, n.nspname::text AS home, to_regrole(n.nspname || '_owner')::oid AS owner
    FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^t_[a-z2-7]{20}$'
), def AS (
    SELECT ns.home, d.defaclobjtype, d.defaclrole, ns.owner, a.grantee, a.privilege_type, a.is_grantable,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END AS to_role
    FROM pg_catalog.pg_default_acl d JOIN ns ON ns.owner = d.defaclrole OR ns.oid = d.defaclnamespace,
         aclexplode(d.defaclacl) a
    WHERE a.grantee <> d.defaclrole
)
SELECT 'default_privileges', 'critical', home, coalesce(substring(to_role from '^(t_[a-z2-7]{20})_'), ''),
       pg_get_userbyid(defaclrole) || ' ' || defaclobjtype::text,
       string_agg(privilege_type, ', ' ORDER BY privilege_type) || ' to ' || to_role
FROM def
WHERE left(to_role, 23) <> home || '_' OR is_grantable
   OR (defaclobjtype = 'r' AND privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
GROUP BY home, defaclrole, defaclobjtype, to_role
UNION ALL
SELECT 'default_privileges', 'warning', home, '', home || '_owner ' || k::text,
       CASE k WHEN 'f' THEN 'new functions' ELSE 'new types' END || ' would be everybody''s'
FROM ns, unnest(ARRAY['f', 'T']::"char"[]) k
WHERE owner IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_default_acl d WHERE d.defaclrole = ns.owner AND d.defaclnamespace = 0 AND d.defaclobjtype = k
      AND NOT EXISTS (SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee = 0));

-- name: shared
-- What PUBLIC, the groups of all tenants, or a tenant's role may reach outside of tenants' schemas. The system's objects and
-- extensions' own are looked at for grants to tenants and their groups, and where PUBLIC has what PostgreSQL comes with
-- closed; how far they are closed to PUBLIC beyond that is told by the levels.
WITH door AS (  -- the group of those who may connect to this database, as cp.tenants_group() names it
    SELECT 'cp_tenants_' || left(encode(sha256(convert_to(current_database(), 'UTF8')), 'hex'), 12) AS name
), who AS (
    SELECT r.oid, r.rolname::text AS name, coalesce(substring(r.rolname from '^(t_[a-z2-7]{20})_'), '') AS home,
           r.rolname = door.name OR r.rolname ~ '^t_[a-z2-7]{20}_mig$' AS may_connect
    FROM pg_catalog.pg_roles r, door
    WHERE r.rolname IN ('cp_tenants', 'cp_owners', door.name) OR r.rolname ~ '^cp_guests_[0-9a-f]{12}$'  -- roles of schemas in other databases of the server are judged there
       OR (r.rolname ~ '^t_[a-z2-7]{20}_' AND to_regnamespace(substring(r.rolname from '^(t_[a-z2-7]{20})_')) IS NOT NULL)
    UNION ALL SELECT 0, 'PUBLIC', '', false
), ns AS (
    SELECT n.*, n.nspname ~ '^pg_' OR n.nspname = 'information_schema' AS of_system
    FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^t_[a-z2-7]{20}$'
), object AS (
    -- (what, its privileges, whether PUBLIC is judged elsewhere, what the groups or tenants may have)
    SELECT 'schema ' || n.nspname AS name, n.nspacl AS acl, n.of_system AS elsewhere, false AS definer,
           CASE WHEN n.nspname = 'extensions' THEN '{USAGE}' ELSE '{}' END::text[] AS known
    FROM ns n
    UNION ALL
    SELECT 'relation ' || n.nspname || '.' || c.relname, c.relacl,
           n.of_system OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'), false, '{}'
    FROM pg_catalog.pg_class c JOIN ns n ON n.oid = c.relnamespace WHERE c.relacl IS NOT NULL
    UNION ALL
    SELECT 'column ' || n.nspname || '.' || c.relname || '.' || a.attname, a.attacl, n.of_system, false, '{}'
    FROM pg_catalog.pg_class c JOIN ns n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'routine ' || p.oid::regprocedure, coalesce(p.proacl, acldefault('f', p.proowner)),
           n.of_system OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                                  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'),
           p.prosecdef, CASE WHEN p.prosecdef OR n.of_system OR n.nspname = 'cp' THEN '{}' ELSE '{EXECUTE}' END::text[]
    FROM pg_catalog.pg_proc p JOIN ns n ON n.oid = p.pronamespace WHERE p.prosecdef OR p.proacl IS NOT NULL
    UNION ALL
    -- All of the server: tenants of one are not to connect to another. (A migrator on PostgreSQL 15 has it by itself.)
    SELECT 'database ' || datname, datacl, true, false, '{}' FROM pg_catalog.pg_database
    UNION ALL SELECT 'foreign server ' || srvname, srvacl, false, false, '{}' FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT 'foreign-data wrapper ' || fdwname, fdwacl, false, false, '{}' FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT 'setting ' || parname, paracl, false, false, '{}' FROM pg_catalog.pg_parameter_acl
    UNION ALL SELECT 'tablespace ' || spcname, spcacl, false, false, '{}' FROM pg_catalog.pg_tablespace
    UNION ALL SELECT 'large object ' || oid, lomacl, false, false, '{}' FROM pg_catalog.pg_largeobject_metadata
)
SELECT CASE WHEN o.definer THEN 'security_definer' ELSE 'shared_grant' END, 'critical', who.home, who.home, o.name,
       string_agg(DISTINCT a.privilege_type, ', ') || ' to ' || who.name
FROM object o, aclexplode(o.acl) a JOIN who ON who.oid = a.grantee
WHERE NOT (o.elsewhere AND a.grantee = 0) AND NOT (a.privilege_type = ANY (o.known) AND NOT a.is_grantable)
  AND NOT (o.name = 'database ' || current_database() AND who.may_connect AND a.privilege_type = 'CONNECT' AND NOT a.is_grantable)
GROUP BY o.definer, who.home, who.name, o.name
UNION ALL
SELECT 'shared_grant', 'critical', who.home, who.home, 'language ' || l.lanname, a.privilege_type || ' to ' || who.name
FROM pg_catalog.pg_language l, aclexplode(l.lanacl) a JOIN who ON who.oid = a.grantee
WHERE who.name NOT IN ('PUBLIC', 'cp_owners')
UNION ALL
SELECT 'opened', 'critical', '', '', 'routine ' || p.oid::regprocedure, 'is granted to PUBLIC, against the default'
FROM pg_catalog.pg_init_privs i JOIN pg_catalog.pg_proc p ON p.oid = i.objoid
WHERE i.classoid = 'pg_catalog.pg_proc'::regclass AND has_function_privilege('public', p.oid, 'EXECUTE')
  AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) a WHERE a.grantee = 0)
UNION ALL
SELECT DISTINCT 'opened', 'critical', '', '', 'relation ' || c.oid::regclass, 'is granted to PUBLIC, against the default'
FROM pg_catalog.pg_init_privs i JOIN pg_catalog.pg_class c ON c.oid = i.objoid, aclexplode(c.relacl) x
WHERE i.classoid = 'pg_catalog.pg_class'::regclass AND i.objsubid = 0 AND x.grantee = 0
  AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) a WHERE a.grantee = 0);

-- name: verifiers
-- tenants/prepare.sql: logins whose password is not the one that was set.
SELECT CASE state WHEN 'unreadable' THEN 'unreadable' ELSE 'password' END, 'warning', left(login, 22), left(login, 22),
       login, CASE state WHEN 'removed' THEN 'the password is gone' ELSE 'another password than was set' END
FROM cp.verifier_drift();
