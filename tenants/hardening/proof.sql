-- name: findings
-- Everything in the catalog that lets a tenant of this database reach beyond its own schema, or that its protection lacks:
-- the schema it is about (NULL: the whole database), and what. One statement, whatever the number of tenants.
WITH ns AS MATERIALIZED (
    SELECT n.oid, n.nspname::text AS home, n.nspowner, n.nspacl,
           to_regrole(n.nspname || '_owner')::oid AS owner,
           ARRAY(SELECT to_regrole(n.nspname || s)::oid FROM unnest(ARRAY['_owner', '_rw', '_ro']) s) AS family
    FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^t_[a-z2-7]{20}$'
), role AS MATERIALIZED (
    -- By names: roles of schemas in other databases of the server are judged there.
    SELECT r.*, substring(r.rolname from '^(t_[a-z2-7]{20})_') AS home, substring(r.rolname from '^t_[a-z2-7]{20}_(.*)$') AS kind
    FROM pg_catalog.pg_roles r WHERE r.rolname ~ '^t_[a-z2-7]{20}_'
      AND substring(r.rolname from '^(t_[a-z2-7]{20})_') IN (SELECT home FROM ns)
), rel AS MATERIALIZED (
    SELECT c.oid, c.relname::text, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
           ns.home, ns.owner, ns.family
    FROM pg_catalog.pg_class c JOIN ns ON ns.oid = c.relnamespace WHERE c.relkind NOT IN ('i', 'I', 't')
), routine AS MATERIALIZED (
    SELECT p.oid, p.proowner, p.proacl, p.prosecdef, ns.home, ns.owner, ns.family
    FROM pg_catalog.pg_proc p JOIN ns ON ns.oid = p.pronamespace
), policy AS MATERIALIZED (
    SELECT p.polname, p.polroles, p.polcmd, rel.* FROM pg_catalog.pg_policy p JOIN rel ON rel.oid = p.polrelid
)
SELECT home, format('role %s may do more than a tenant: %s', rolname, concat_ws(', ',
           CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
           CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
           CASE WHEN rolbypassrls THEN 'BYPASSRLS' END)) AS what
FROM role WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
UNION ALL
SELECT home, format('role %s can log in', rolname) FROM role WHERE rolcanlogin AND kind IN ('owner', 'rw', 'ro')
UNION ALL
SELECT home, format('login %s has no connection limit', rolname) FROM role WHERE rolcanlogin AND rolconnlimit < 0
UNION ALL
SELECT r.home, format('role %s is a member of %s', r.rolname, g.rolname)
FROM role r JOIN pg_catalog.pg_auth_members m ON m.member = r.oid JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
WHERE NOT (g.rolname = 'cp_tenants' OR (r.kind = 'owner' AND g.rolname = 'cp_owners')
           OR (r.kind ~ '^rw_[ab]$' AND g.rolname = r.home || '_rw') OR (r.kind ~ '^ro_' AND g.rolname = r.home || '_ro')
           OR (r.kind = 'mig' AND g.rolname = r.home || '_owner'))
UNION ALL
SELECT g.home, format('role %s has the member %s', g.rolname, m.member::regrole)
FROM role g JOIN pg_catalog.pg_auth_members m ON m.roleid = g.oid
WHERE NOT EXISTS (SELECT FROM role r WHERE r.oid = m.member AND r.home = g.home)
  -- Whoever made a role without being superuser administers it (PostgreSQL 16 and later); the control plane's login.
  AND NOT pg_has_role(m.member, 'cp_operator', 'MEMBER')
UNION ALL
SELECT home, 'the schema has another owner' FROM ns WHERE nspowner IS DISTINCT FROM owner
UNION ALL
SELECT home, format('%s on the schema is granted to %s', a.privilege_type,
                    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
FROM ns, aclexplode(nspacl) a
WHERE NOT a.grantee = ANY (family) OR (a.grantee <> owner AND a.privilege_type <> 'USAGE')
UNION ALL
SELECT home, format('%s has another owner', relname) FROM rel WHERE relowner IS DISTINCT FROM owner
UNION ALL
SELECT home, format('%s is without forced row-level security', relname) FROM rel
WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL
SELECT home, format('%s has no policy for its owner', relname) FROM rel
WHERE relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM policy p WHERE p.oid = rel.oid AND (p.polroles = '{0}' OR rel.owner = ANY (p.polroles)))
UNION ALL
-- A template may bring policies of its own; a table of which all are the control plane's has both of them.
SELECT home, format('%s lacks the policy %s', relname, wanted) FROM rel, unnest(ARRAY['tenant_rw', 'tenant_ro']) wanted
WHERE relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM policy p WHERE p.oid = rel.oid AND p.polname NOT IN ('tenant_rw', 'tenant_ro'))
  AND NOT EXISTS (SELECT FROM policy p WHERE p.oid = rel.oid AND p.polname = wanted)
UNION ALL
SELECT home, format('policy %s on %s names a foreign role', polname, relname)
FROM policy, unnest(polroles) x WHERE x <> 0 AND NOT x = ANY (family)
UNION ALL
SELECT home, format('%s on %s is granted to %s', a.privilege_type, relname,
                    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
FROM rel, aclexplode(relacl) a
WHERE NOT a.grantee = ANY (family)
   OR (relkind IN ('r', 'p') AND a.grantee <> owner AND a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
UNION ALL
SELECT home, format('a column of %s is granted to %s', relname,
                    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
FROM rel JOIN pg_catalog.pg_attribute c ON c.attrelid = rel.oid AND c.attacl IS NOT NULL, aclexplode(c.attacl) a
WHERE NOT a.grantee = ANY (family)
UNION ALL
SELECT home, format('function %s is SECURITY DEFINER', oid::regprocedure) FROM routine WHERE prosecdef
UNION ALL
SELECT home, format('function %s has another owner', oid::regprocedure) FROM routine WHERE proowner IS DISTINCT FROM owner
UNION ALL
SELECT home, format('function %s is granted to %s', oid::regprocedure,
                    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
FROM routine, aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE NOT a.grantee = ANY (family)
UNION ALL
SELECT ns.home, format('default privileges give %s to %s', a.privilege_type,
                       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
FROM ns JOIN pg_catalog.pg_default_acl d ON d.defaclrole = ns.owner, aclexplode(d.defaclacl) a
WHERE NOT a.grantee = ANY (ns.family)
   OR (d.defaclobjtype = 'r' AND a.grantee <> ns.owner AND a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
UNION ALL
SELECT ns.home, format('default privileges leave new %s to PUBLIC', CASE k WHEN 'f' THEN 'functions' ELSE 'types' END)
FROM ns, unnest(ARRAY['f', 'T']::"char"[]) k
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl d
                  WHERE d.defaclrole = ns.owner AND d.defaclnamespace = 0 AND d.defaclobjtype = k)
UNION ALL
-- What is settled for a login and would lead it elsewhere, or take a limit from it.
SELECT role.home, format('login %s has the setting %s', role.rolname, split_part(c, '=', 1))
FROM role JOIN pg_catalog.pg_db_role_setting s ON s.setrole = role.oid, unnest(s.setconfig) c
WHERE split_part(c, '=', 1) NOT IN ('search_path', 'statement_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout',
                                    'temp_file_limit', 'default_transaction_read_only')
   OR (split_part(c, '=', 1) = 'search_path' AND split_part(c, '=', 2) !~ ('^"?' || role.home || '\M'))
   OR (split_part(c, '=', 1) IN ('statement_timeout', 'temp_file_limit') AND split_part(c, '=', 2) IN ('0', '-1'))
UNION ALL
-- What all tenants share gives them nothing but its name says.
SELECT NULL, format('%s is a member of %s', m.member::regrole, m.roleid::regrole)
FROM pg_catalog.pg_auth_members m
WHERE m.member IN (to_regrole('cp_tenants'), to_regrole('cp_owners'))
  AND NOT (m.member = to_regrole('cp_owners') AND m.roleid = to_regrole('cp_tenants'))
UNION ALL
SELECT NULL, format('%s on schema %s is granted to %s', a.privilege_type, n.nspname, a.grantee::regrole)
FROM pg_catalog.pg_namespace n, aclexplode(n.nspacl) a
WHERE a.grantee IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname IN ('cp_tenants', 'cp_owners') OR rolname ~ '^t_[a-z2-7]{20}_')
  AND n.nspname !~ '^t_[a-z2-7]{20}$' AND NOT (n.nspname = 'extensions' AND a.privilege_type = 'USAGE')
UNION ALL
SELECT NULL, format('%s on %s is granted to %s', a.privilege_type, c.oid::regclass, a.grantee::regrole)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
WHERE n.nspname !~ '^t_[a-z2-7]{20}$'
  AND a.grantee IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname IN ('cp_tenants', 'cp_owners') OR rolname ~ '^t_[a-z2-7]{20}_')
UNION ALL
SELECT NULL, format('EXECUTE on %s is granted to %s', p.oid::regprocedure, a.grantee::regrole)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace, aclexplode(p.proacl) a
WHERE n.nspname !~ '^t_[a-z2-7]{20}$'
  AND a.grantee IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname IN ('cp_tenants', 'cp_owners') OR rolname ~ '^t_[a-z2-7]{20}_')
UNION ALL
SELECT NULL, format('EXECUTE on %s is granted to PUBLIC', p.oid::regprocedure)
FROM pg_catalog.pg_proc p WHERE p.pronamespace = to_regnamespace('cp') AND has_function_privilege('public', p.oid, 'EXECUTE')
UNION ALL
-- What PostgreSQL itself comes with closed, and somebody has opened.
SELECT NULL, format('%s is granted to PUBLIC, against the default', p.oid::regprocedure)
FROM pg_catalog.pg_init_privs i JOIN pg_catalog.pg_proc p ON p.oid = i.objoid
WHERE i.classoid = 'pg_catalog.pg_proc'::regclass AND has_function_privilege('public', p.oid, 'EXECUTE')
  AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) a WHERE a.grantee = 0)
UNION ALL
SELECT NULL, format('%s is granted to PUBLIC, against the default', c.oid::regclass)
FROM pg_catalog.pg_init_privs i JOIN pg_catalog.pg_class c ON c.oid = i.objoid, aclexplode(c.relacl) x
WHERE i.classoid = 'pg_catalog.pg_class'::regclass AND i.objsubid = 0 AND x.grantee = 0
  AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) a WHERE a.grantee = 0)
UNION ALL
SELECT NULL, format('%s on the database is granted to %s', a.privilege_type, a.grantee::regrole)
FROM pg_catalog.pg_database d, aclexplode(d.datacl) a
WHERE d.datname = current_database() AND a.privilege_type <> 'CONNECT'
  AND a.grantee IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname IN ('cp_tenants', 'cp_owners') OR rolname ~ '^t_[a-z2-7]{20}_')
UNION ALL
SELECT NULL, format('language %s is granted to %s', l.lanname, a.grantee::regrole)
FROM pg_catalog.pg_language l, aclexplode(l.lanacl) a
WHERE a.grantee IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = 'cp_tenants' OR rolname ~ '^t_[a-z2-7]{20}_')
ORDER BY 1, 2;
