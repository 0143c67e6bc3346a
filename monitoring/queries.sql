-- name: lock_partitions
SELECT pg_advisory_xact_lock(hashtextextended('partitions of ' || %s, 0))

-- name: create_partition
CREATE TABLE IF NOT EXISTS {partition} PARTITION OF {table} FOR VALUES FROM ({begin}) TO ({end})

-- name: partitions
SELECT partition.relname
  FROM pg_inherits
  JOIN pg_class parent ON parent.oid = inhparent
  JOIN pg_class partition ON partition.oid = inhrelid
 WHERE parent.relname = %s AND parent.relnamespace = current_schema()::regnamespace
 ORDER BY partition.relname

-- name: drop_partition
DROP TABLE IF EXISTS {}
