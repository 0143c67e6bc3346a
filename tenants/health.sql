-- name: unprotected
-- How many tables a schema has, how many of them lack forced row-level security or a policy, and one of those. Chunks of
-- hypertables are reached through their parent's.
SELECT count(*), count(*) FILTER (WHERE bare), min(relname::text) FILTER (WHERE bare)
FROM (
  SELECT c.relname, NOT (c.relrowsecurity AND c.relforcerowsecurity
                         AND EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid)) AS bare
  FROM pg_class AS c
  WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p')
    AND (c.relispartition OR NOT EXISTS (
      SELECT FROM pg_inherits AS i JOIN pg_class AS parent ON parent.oid = i.inhparent AND parent.relforcerowsecurity
      WHERE i.inhrelid = c.oid))
) AS tables;

-- name: sessions
-- Sessions of a tenant's logins, all of which begin with its schema's name.
SELECT count(*) FROM pg_stat_activity WHERE usename ^@ %(schema)s AND pid <> pg_backend_pid();

-- name: size
-- Tables, indexes and TOAST of a schema.
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'm');
