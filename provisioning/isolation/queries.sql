-- name: first_tables
-- One table of each tenant schema, to try with.
SELECT DISTINCT ON (n.nspname) n.nspname::text, c.relname::text
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
WHERE n.nspname ~ '^t_[a-z2-7]{20}$' AND c.relkind IN ('r', 'p')
ORDER BY n.nspname, c.relname;
