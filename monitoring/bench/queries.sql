-- name: invent_monitoring_tenant_activity
-- Sessions and statements: more by day than by night, other ones for each tenant.
INSERT INTO {table} (
    taken_at, cluster_id, tenant_id, connections, connection_limit, active, idle_in_transaction, waiting, blocking,
    oldest_transaction_seconds, span_seconds, calls, total_seconds, max_seconds, rows, temp_bytes, blocks_hit, blocks_read)
SELECT at, %(cluster)s, tenant, (busy * 12)::int, 20, (busy * 3)::int, (n %% 2)::int, 0, 0, busy * 2, extract(epoch FROM every),
       (busy * 4000)::bigint, busy * 12 * (1 + n %% 7), 1.5, (busy * 20000)::bigint, 0, (busy * 90000)::bigint,
       (busy * 900 * (n %% 5))::bigint
FROM (SELECT %(every)s::interval AS every) given,
     generate_series(%(begin)s::timestamptz, %(end)s, every) at,
     unnest(%(tenants)s::uuid[]) WITH ORDINALITY given_tenants (tenant, n),
     LATERAL (SELECT 0.5 + 0.4 * sin(extract(epoch FROM at) / 86400 * 2 * pi() + n) + 0.1 * (n %% 10) / 10.0) day (busy);

-- name: invent_monitoring_tenant_size
-- The n-th tenant has n MiB at first and grows by n KiB an hour.
INSERT INTO {table} (
    taken_at, cluster_id, tenant_id, table_bytes, index_bytes, toast_bytes, total_bytes, quota_bytes, tables, live_rows,
    dead_rows, xid_age, vacuum_age_seconds, analyze_age_seconds)
SELECT at, %(cluster)s, tenant, size / 2, size / 4, size - size / 2 - size / 4, size, 1073741824, 20, size / 100,
       size / 5000, 1000000, 3600, 3600
FROM generate_series(%(begin)s::timestamptz, %(end)s, %(every)s) at,
     unnest(%(tenants)s::uuid[]) WITH ORDINALITY given_tenants (tenant, n),
     LATERAL (SELECT (n * 1048576 + n * 1024 * floor(extract(epoch FROM at - '2026-01-01') / 3600))::bigint) grown (size);

-- name: invent_monitoring_cluster
INSERT INTO {table} (
    taken_at, cluster_id, connections, connection_slots, active, idle_in_transaction, waiting, oldest_transaction_seconds,
    span_seconds, transactions, rollbacks, deadlocks, temp_bytes, wal_bytes, blocks_hit, blocks_read, checkpoints_timed,
    checkpoints_requested, replicas, replication_lag_seconds, replication_lag_bytes, xid_age, size_bytes,
    disk_total_bytes, disk_free_bytes)
SELECT at, %(cluster)s, (busy * 150)::int, 197, (busy * 30)::int, 1, 0, busy * 3, extract(epoch FROM every),
       (busy * 200 * extract(epoch FROM every))::bigint, 1, 0, 0, (busy * 2000000 * extract(epoch FROM every))::bigint,
       (busy * 9000000)::bigint, (busy * 40000)::bigint, 0, 0, 1, busy / 10, (busy * 100000)::bigint, 20000000,
       (40e9 + extract(epoch FROM at - '2026-01-01') * 300)::bigint, 500000000000, 380000000000
FROM (SELECT %(every)s::interval AS every) given,
     generate_series(%(begin)s::timestamptz, %(end)s, every) at,
     LATERAL (SELECT 0.5 + 0.3 * sin(extract(epoch FROM at) / 86400 * 2 * pi() + %(cluster)s)) day (busy);

-- name: invent_monitoring_fleet
INSERT INTO {table} (
    taken_at, tenants, tenants_active, tenants_suspended, tenants_failed, operations_pending, operations_running,
    operations_stuck, operations_failed, oldest_pending_seconds, queue_depth, worker_seen_seconds, beat_seen_seconds,
    slots_ready, audit_unsealed)
SELECT at, 2000, 1990, 8, 2, (busy * 5)::int, (busy * 4)::int, 0, 0, busy, 0, 5, 5, 10, 0
FROM generate_series(%(begin)s::timestamptz, %(end)s, %(every)s) at,
     LATERAL (SELECT 0.5 + 0.5 * sin(extract(epoch FROM at) / 86400 * 2 * pi())) day (busy);

-- name: make_schemas
-- Schemas with so many tables each, of which every second one has rows; a key, an index and a TOAST table each.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY string_to_array('{schemas}', ',') LOOP
    EXECUTE format('CREATE SCHEMA %I', name);
    FOR number IN 1..{tables} LOOP
      EXECUTE format('CREATE TABLE %1$I.t%2$s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b text)', name, number);
      EXECUTE format('CREATE INDEX ON %1$I.t%2$s (a)', name, number);
      IF number % 2 = 1 THEN
        EXECUTE format('INSERT INTO %1$I.t%2$s (a, b) SELECT g, md5(g::text) FROM generate_series(1, 20) g', name, number);
      END IF;
    END LOOP;
  END LOOP;
END $$
