-- name: roles_of_database
-- The stems of all tenants' roles that have something set in this database: each pair of logins has its search_path.
SELECT DISTINCT regexp_replace(r.rolname, '_rw_[ab]$', '')
FROM pg_db_role_setting s
JOIN pg_roles r ON r.oid = s.setrole
JOIN pg_database d ON d.oid = s.setdatabase
WHERE d.datname = %s AND r.rolname ~ '^t_[a-z2-7]{20}_rw_[ab]$';

-- name: abandoned_databases
-- Registries of benchmarks that were killed. One that lives has a session that calls itself like its registry: an
-- advisory lock would not do, since those are known in one database only.
SELECT d.datname FROM pg_database d
WHERE d.datname ~ '^cpbench_[0-9a-f]{12}$'
  AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = d.datname);

-- name: range_columns
-- Columns of the schema's own range types: what django-tenants' clone cannot make. With the subtype's own range.
SELECT c.oid::regclass::text AS relation, quote_ident(a.attname) AS field, b.rngtypid::regtype::text AS builtin,
       pg_get_expr(d.adbin, d.adrelid) AS standard
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'r' AND t.typnamespace = c.relnamespace
JOIN pg_range r ON r.rngtypid = t.oid
JOIN pg_range b ON b.rngsubtype = r.rngsubtype AND b.rngtypid < 16384
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = %s::regnamespace AND NOT a.attisdropped;

-- name: range_types
-- The schema's own range types.
SELECT oid::regtype::text FROM pg_type WHERE typtype = 'r' AND typnamespace = %s::regnamespace;

-- name: own_generated_columns
-- Generated columns whose type is the schema's own.
SELECT c.oid::regclass::text, quote_ident(a.attname)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = %s::regnamespace AND a.attgenerated <> '' AND t.typnamespace = c.relnamespace;

-- name: aggregates
-- The schema's aggregates.
SELECT oid::regprocedure::text FROM pg_proc WHERE prokind = 'a' AND pronamespace = %s::regnamespace;

-- name: commented_indexes
-- Indexes that have a comment.
SELECT c.oid::regclass::text
FROM pg_class c JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
WHERE c.relkind IN ('i', 'I') AND c.relnamespace = %s::regnamespace;

-- name: schemas_and_tables
-- How many schemas and tables the database holds.
SELECT (SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
       (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema');

-- name: tables_of_schema
-- How many tables a schema has, partitions left out.
SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition;

-- name: catalogs
-- This database's own system catalogs.
SELECT c.oid::regclass::text FROM pg_catalog.pg_class c
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared ORDER BY 1
