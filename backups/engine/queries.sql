-- name: namespace
-- Whether the schema is there. `pg_namespace` has an index on the name.
SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s

-- name: relations
-- What the schema holds, enumerated by pg_depend (no index of pg_class leads with the namespace): OID, name, kind, whether
-- a materialized view is filled, bytes of the heap and of its TOAST table, the partitioned table it belongs to,
-- and the root of its partitions when one of its ancestors is partitioned by hash.
SELECT c.oid, c.relname::text, c.relkind::text, c.relispopulated,
       CASE WHEN %(sizes)s AND c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) ELSE 0 END,
       CASE WHEN %(sizes)s AND c.relkind = 'r' AND c.reltoastrelid <> 0 THEN pg_catalog.pg_relation_size(c.reltoastrelid)
            ELSE 0 END,
       CASE WHEN c.relispartition THEN (SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1) END,
       CASE WHEN c.relispartition AND EXISTS (
           SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a
           JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid WHERE p.partstrat = 'h'
       ) THEN (SELECT r.relname::text FROM pg_catalog.pg_class r WHERE r.oid = pg_catalog.pg_partition_root(c.oid)) END
FROM pg_catalog.pg_class c
WHERE c.oid = ANY (ARRAY(
    SELECT d.objid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass
      AND d.refclassid = 'pg_catalog.pg_namespace'::regclass
      AND d.refobjid = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = %(schema)s)))
ORDER BY c.oid

-- name: columns
-- What COPY writes of each table: its columns' names and types in order, generated ones left out.
SELECT a.attrelid, array_agg(a.attname::text ORDER BY a.attnum), array_agg(a.atttypid ORDER BY a.attnum)
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
GROUP BY a.attrelid

-- name: types
-- What decides whether a type's binary form means the same elsewhere: kind, base of a domain, element of an array.
SELECT oid, typtype::text, typbasetype, CASE WHEN typcategory = 'A' THEN typelem ELSE 0 END
FROM pg_catalog.pg_type WHERE oid = ANY (%s::oid[])

-- name: snapshot
-- Where and when the snapshot was taken, what the server is.
SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_insert_lsn() END::text,
       pg_catalog.clock_timestamp(), pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('server_encoding'), pg_catalog.current_setting('block_size')::int

-- name: extensions
-- What the database has of extensions: a schema of it may need them.
SELECT e.extname::text, n.nspname::text, e.extversion
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql' ORDER BY e.extname

-- name: export
-- A name by which other sessions see what this one sees.
SELECT pg_catalog.pg_export_snapshot()

-- name: hypertables
-- TimescaleDB's tables of a schema: their rows are read through the root, their chunks are made anew.
SELECT h.table_name::text,
       ARRAY(SELECT c.table_name::text FROM _timescaledb_catalog.chunk c
             WHERE c.hypertable_id IN (h.id, h.compressed_hypertable_id) AND c.schema_name = h.schema_name)
FROM _timescaledb_catalog.hypertable h WHERE h.schema_name = %s

-- name: marks
-- Declared time-series tables: the table, the policy and the comment on it that says so.
SELECT c.oid, c.relname::text, p.polname::text, d.description
FROM pg_catalog.pg_policy p
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
JOIN pg_catalog.pg_description d
  ON d.objoid = p.oid AND d.classoid = 'pg_catalog.pg_policy'::regclass AND pg_catalog.starts_with(d.description, %(mark)s)
WHERE p.polrelid = ANY (%(tables)s::oid[]) AND p.polname IN ('tenant_rw', 'tenant_owner')

-- name: partitions
-- How each partition of a declared time-series table is made, and what about it a new one would not have.
SELECT c.oid, c.relname::text, r.relname::text, pg_catalog.pg_get_expr(c.relpartbound, c.oid), c.relrowsecurity,
       c.relforcerowsecurity,
       CASE WHEN c.relkind <> 'r' THEN 'is partitioned itself'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.conislocal
                           AND k.conparentid = 0 AND k.contype IN ('c', 'f', 't')) THEN 'has a constraint of its own'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                           AND t.tgparentid = 0) THEN 'has a trigger of its own'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid) THEN 'has a rule' END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
JOIN pg_catalog.pg_class r ON r.oid = i.inhparent
WHERE i.inhparent = ANY (%s::oid[])
ORDER BY c.oid

-- name: partition_indexes
-- The indexes of partitions: their text (a constraint's where they are one's), and the parent's they belong to.
SELECT i.indrelid, x.relname::text, k.conname::text,
       CASE WHEN k.oid IS NULL THEN pg_catalog.pg_get_indexdef(i.indexrelid)
            ELSE pg_catalog.pg_get_constraintdef(k.oid) END,
       (SELECT p.relname::text FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class p ON p.oid = h.inhparent
        WHERE h.inhrelid = i.indexrelid)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x') AND k.conrelid = i.indrelid
WHERE i.indrelid = ANY (%s::oid[])
ORDER BY i.indexrelid

-- name: partition_policies
-- The policies of partitions.
SELECT p.polrelid, p.polname::text, p.polpermissive, p.polcmd::text,
       ARRAY(SELECT CASE r WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r)::text END FROM unnest(p.polroles) r),
       pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)
FROM pg_catalog.pg_policy p WHERE p.polrelid = ANY (%s::oid[])
ORDER BY p.oid

-- name: activity
-- A number that changes whenever rows of a schema's tables, or the tables themselves, do: what the server has counted.
-- When counting is off, or nothing can be said, NULL. A crash loses counts, but leaves its time with pg_stat_bgwriter.
SELECT CASE WHEN pg_catalog.current_setting('track_counts')::bool AND NOT pg_catalog.pg_is_in_recovery() THEN
    encode(sha256(convert_to(
        concat_ws('|', (SELECT stats_reset FROM pg_catalog.pg_stat_bgwriter),
            (SELECT stats_reset FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database())) || '|' ||
        coalesce(string_agg(concat_ws(',', c.oid, c.relfilenode, pg_catalog.pg_stat_get_tuples_inserted(c.oid),
            pg_catalog.pg_stat_get_tuples_updated(c.oid), pg_catalog.pg_stat_get_tuples_deleted(c.oid)),
            ';' ORDER BY c.oid), ''), 'UTF8')), 'hex') END
FROM pg_catalog.pg_class c
WHERE c.relkind IN ('r', 'p') AND c.oid = ANY (ARRAY(
    SELECT d.objid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass
      AND d.refclassid = 'pg_catalog.pg_namespace'::regclass
      AND d.refobjid = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = %s)))

-- name: sorting_memory
-- At least so many MB for this session's index builds.
SELECT set_config('maintenance_work_mem', greatest(setting::bigint, %s * 1024)::text, false)
FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem'
