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

-- name: try_lock
SELECT pg_try_advisory_lock(hashtextextended(%s, 0))

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended(%s, 0))

-- name: roll_up
-- The spans between two moments, whatever was there before.
INSERT INTO {into} ({columns})
SELECT {key}, {made}
  FROM (SELECT *, date_bin(%(length)s, taken_at, '2000-01-01+00') AS span FROM {source}
         WHERE taken_at >= %(begin)s AND taken_at < %(end)s) AS sample
 GROUP BY {key}
ON CONFLICT ({conflict}) DO UPDATE SET {changes}
