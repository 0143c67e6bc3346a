-- name: first_tables
-- One table of each tenant schema, to try with.
SELECT DISTINCT ON (n.nspname) n.nspname::text, c.relname::text
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
WHERE n.nspname ~ '^t_[a-z2-7]{20}$' AND c.relkind IN ('r', 'p')
ORDER BY n.nspname, c.relname;

-- name: elsewhere
-- Some other databases of this server that tenants may be in: those that a group of tenants may connect to.
SELECT d.datname::text FROM pg_catalog.pg_database d
WHERE d.datname <> current_database() AND d.datallowconn AND NOT d.datistemplate
  AND EXISTS (SELECT FROM aclexplode(d.datacl) a JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
              WHERE a.privilege_type = 'CONNECT' AND r.rolname ~ '^cp_tenants_[0-9a-f]{12}$')
ORDER BY random() LIMIT 5;
