-- name: partitions
-- The partitions of many declared tables at once. Tables are found by name through pg_class's (relname, relnamespace)
-- index and their children through pg_inherits: nothing here grows with the number of other schemas.
SELECT n.nspname, c.relname,
       ARRAY(SELECT p.relname::text FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhrelid
             WHERE i.inhparent = c.oid)
FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::name[]), pg_catalog.unnest(%(tables)s::name[])) AS wanted (schema_name, table_name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema_name
JOIN pg_catalog.pg_class c ON c.relname = wanted.table_name AND c.relnamespace = n.oid
WHERE c.relkind = 'p'
