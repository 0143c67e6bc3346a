-- What probes ask a server, each by one statement whatever the number of tenants. A tenant's logins begin with the name
-- of its schema, which has 22 characters.

-- name: sessions
-- Tenants that have sessions, and what these do.
SELECT left(usename, 22) AS schema_name, count(*)::int AS connections,
       count(*) FILTER (WHERE state = 'active')::int AS active,
       count(*) FILTER (WHERE starts_with(state, 'idle in transaction'))::int AS idle_in_transaction,
       count(*) FILTER (WHERE wait_event_type = 'Lock')::int AS waiting,
       extract(epoch FROM max(clock_timestamp() - xact_start))::float8 AS oldest_transaction_seconds
  FROM pg_catalog.pg_stat_activity
 WHERE backend_type = 'client backend' AND usename ~ '^t_[a-z2-7]{20}_'
 GROUP BY 1

-- name: blocking
-- Who waits for whom: a tenant's schema, or the login of somebody else. Whom a session waits for is asked for those that
-- wait alone, the longest waiting first: each question holds all locks of the server up.
WITH session AS MATERIALIZED (
    SELECT pid, wait_event_type, query_start, backend_type,
           CASE WHEN usename ~ '^t_[a-z2-7]{20}_' THEN left(usename, 22) ELSE coalesce(usename, backend_type) END AS who
      FROM pg_catalog.pg_stat_activity
), waiting AS MATERIALIZED (
    SELECT pid, who, query_start FROM session
     WHERE wait_event_type = 'Lock' AND backend_type = 'client backend' ORDER BY query_start LIMIT %(most)s
)
SELECT w.who AS waiter, b.who AS blocker, count(DISTINCT w.pid)::int AS sessions,
       coalesce(extract(epoch FROM max(clock_timestamp() - w.query_start)), 0)::float8 AS seconds
  FROM waiting AS w
  CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) AS p (pid)
  JOIN session AS b ON b.pid = p.pid
 GROUP BY 1, 2

-- name: extension
-- The schema of pg_stat_statements in this database.
SELECT n.nspname::text FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname = 'pg_stat_statements'

-- name: statements
-- Counters of every statement of tenants' logins, without its text. Only what tenants sent, not what that called.
SELECT left(r.rolname, 22) AS schema_name, s.userid || '/' || s.dbid || '/' || s.queryid AS key, s.calls,
       s.total_exec_time AS total_ms, s.max_exec_time AS max_ms, s.rows, s.temp_blks_written AS temp_blocks,
       s.shared_blks_hit AS blocks_hit, s.shared_blks_read AS blocks_read
  FROM {schema}.pg_stat_statements(false) AS s
  JOIN pg_catalog.pg_roles AS r ON r.oid = s.userid
 WHERE s.toplevel AND s.queryid IS NOT NULL AND r.rolname ~ '^t_[a-z2-7]{{20}}_'

-- name: worst_statements
-- A tenant's statements by time, normalised by the server: $1 stands where a literal was. Utility statements are left out,
-- since they are kept as they were sent, passwords and all.
SELECT s.queryid::text AS id, left(s.query, 2000) AS text, s.calls, s.total_exec_time / 1000 AS total_seconds,
       s.mean_exec_time / 1000 AS mean_seconds, s.max_exec_time / 1000 AS max_seconds, s.rows,
       s.temp_blks_written * current_setting('block_size')::bigint AS temp_bytes,
       s.shared_blks_hit AS blocks_hit, s.shared_blks_read AS blocks_read
  FROM {schema}.pg_stat_statements(true) AS s
  JOIN pg_catalog.pg_roles AS r ON r.oid = s.userid
 WHERE left(r.rolname, 22) = %(schema_name)s AND r.rolname ~ '^t_[a-z2-7]{{20}}_' AND s.toplevel
   AND s.query ~* '^([[:space:](]|--[^\n]*\n|/\*([^*]|\*+[^*/])*\*+/)*(select|insert|update|delete|merge|with|values|table)\y'
 ORDER BY s.total_exec_time DESC LIMIT %(limit)s

-- name: sizes
-- What each tenant's schema in this database holds. {bytes} is the size of `part`: of its files (cp.file_sizes), or what
-- the last VACUUM or ANALYZE counted.
WITH owned AS MATERIALIZED (
    SELECT n.nspname, c.oid, c.relkind, c.relfilenode, c.relpages, c.reltoastrelid, c.relfrozenxid
      FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname ~ '^t_[a-z2-7]{{20}}$' AND c.relkind IN ('r', 'm', 'i', 'S')
), toast AS MATERIALIZED (
    SELECT o.nspname, t.oid, t.relfilenode, t.relpages, t.relfrozenxid
      FROM owned AS o JOIN pg_catalog.pg_class AS t ON t.oid = o.reltoastrelid WHERE o.reltoastrelid <> 0
), part AS (
    SELECT nspname, CASE relkind WHEN 'i' THEN 'index' ELSE 'table' END AS kind, relfilenode, relpages FROM owned
    UNION ALL
    SELECT nspname, 'toast', relfilenode, relpages FROM toast
    UNION ALL
    SELECT t.nspname, 'toast', x.relfilenode, x.relpages
      FROM toast AS t JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid
      JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
), sized AS (
    SELECT nspname, coalesce(sum(bytes) FILTER (WHERE kind = 'table'), 0)::bigint AS table_bytes,
           coalesce(sum(bytes) FILTER (WHERE kind = 'index'), 0)::bigint AS index_bytes,
           coalesce(sum(bytes) FILTER (WHERE kind = 'toast'), 0)::bigint AS toast_bytes
      FROM (SELECT part.nspname, part.kind, {bytes} AS bytes FROM part {files}) AS b
     GROUP BY nspname
), told AS MATERIALIZED (
    SELECT nspname, age(relfrozenxid)::bigint AS xid_age, pg_catalog.pg_stat_get_live_tuples(oid) AS live,
           pg_catalog.pg_stat_get_dead_tuples(oid) AS dead, pg_catalog.pg_stat_get_mod_since_analyze(oid) AS changed,
           greatest(pg_catalog.pg_stat_get_last_vacuum_time(oid),
                    pg_catalog.pg_stat_get_last_autovacuum_time(oid)) AS vacuumed_at,
           greatest(pg_catalog.pg_stat_get_last_analyze_time(oid),
                    pg_catalog.pg_stat_get_last_autoanalyze_time(oid)) AS analyzed_at
      FROM owned WHERE relkind IN ('r', 'm')
), kept AS (
    -- Waiting is what autovacuum with its usual thresholds would not leave alone.
    SELECT nspname, count(*)::int AS tables, sum(live)::bigint AS live_rows, sum(dead)::bigint AS dead_rows,
           max(xid_age) AS xid_age,
           bool_or(dead > 50 + 0.2 * live) AS needs_vacuum,
           bool_or(dead > 50 + 0.2 * live AND vacuumed_at IS NULL) AS never_vacuumed,
           min(vacuumed_at) FILTER (WHERE dead > 50 + 0.2 * live) AS vacuumed_at,
           bool_or(changed > 50 + 0.1 * live) AS needs_analyze,
           bool_or(changed > 50 + 0.1 * live AND analyzed_at IS NULL) AS never_analyzed,
           min(analyzed_at) FILTER (WHERE changed > 50 + 0.1 * live) AS analyzed_at
      FROM told GROUP BY nspname
), frozen AS (
    SELECT nspname, max(age(relfrozenxid))::bigint AS xid_age FROM toast GROUP BY nspname
)
SELECT n.nspname::text AS schema_name, coalesce(s.table_bytes, 0) AS table_bytes,
       coalesce(s.index_bytes, 0) AS index_bytes, coalesce(s.toast_bytes, 0) AS toast_bytes,
       coalesce(k.tables, 0) AS tables, coalesce(k.live_rows, 0) AS live_rows, coalesce(k.dead_rows, 0) AS dead_rows,
       greatest(k.xid_age, f.xid_age) AS xid_age, coalesce(k.needs_vacuum, false) AS needs_vacuum,
       coalesce(k.never_vacuumed, false) AS never_vacuumed, k.vacuumed_at,
       coalesce(k.needs_analyze, false) AS needs_analyze, coalesce(k.never_analyzed, false) AS never_analyzed,
       k.analyzed_at
  FROM pg_catalog.pg_namespace AS n
  LEFT JOIN sized AS s ON s.nspname = n.nspname
  LEFT JOIN kept AS k ON k.nspname = n.nspname
  LEFT JOIN frozen AS f ON f.nspname = n.nspname
 WHERE n.nspname ~ '^t_[a-z2-7]{{20}}$'

-- name: databases
-- Tenants' own databases.
SELECT datname::text AS name, pg_catalog.pg_database_size(oid) AS bytes, age(datfrozenxid)::bigint AS xid_age
  FROM pg_catalog.pg_database WHERE datname = ANY (%(names)s)

-- name: server
-- All of a server's sessions.
SELECT a.connections, a.active, a.idle_in_transaction, a.waiting, a.oldest_transaction_seconds,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int AS connection_slots,
       (SELECT max(age(datfrozenxid)) FROM pg_catalog.pg_database)::bigint AS xid_age,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
            ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::bigint END AS wal_bytes,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.pg_postmaster_start_time() AS started_at, current_setting('server_version') AS version
  FROM (
    SELECT count(*)::int AS connections, count(*) FILTER (WHERE state = 'active')::int AS active,
           count(*) FILTER (WHERE starts_with(state, 'idle in transaction'))::int AS idle_in_transaction,
           count(*) FILTER (WHERE wait_event_type = 'Lock')::int AS waiting,
           extract(epoch FROM max(clock_timestamp() - xact_start))::float8 AS oldest_transaction_seconds
      FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'
  ) AS a

-- name: database_counters
-- Each database's, since its statistics were last reset; the row without a database is of what all share.
SELECT datid::text AS key, xact_commit + xact_rollback AS transactions, xact_rollback AS rollbacks, deadlocks, temp_bytes,
       blks_hit AS blocks_hit, blks_read AS blocks_read
  FROM pg_catalog.pg_stat_database

-- name: checkpoints
-- Since PostgreSQL 17.
SELECT num_timed AS timed, num_requested AS requested FROM pg_catalog.pg_stat_checkpointer

-- name: checkpoints_before_17
SELECT checkpoints_timed AS timed, checkpoints_req AS requested FROM pg_catalog.pg_stat_bgwriter

-- name: replication
-- How far replicas are behind what this server has written. One that has nothing to catch up with tells no time.
SELECT count(*)::int AS replicas, coalesce(extract(epoch FROM max(replay_lag)), 0)::float8 AS seconds,
       max(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn()
                                           ELSE pg_catalog.pg_current_wal_lsn() END, replay_lsn))::bigint AS bytes
  FROM pg_catalog.pg_stat_replication

-- name: slots
-- Replication slots, and how much log each keeps from being removed.
SELECT slot_name::text AS name, slot_type AS kind, active, coalesce(wal_status, '') AS wal_status,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
            ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::bigint END AS retained_bytes
  FROM pg_catalog.pg_replication_slots ORDER BY 1

-- name: settings
SELECT name, setting || coalesce(' ' || nullif(unit, ''), '') AS value
  FROM pg_catalog.pg_settings WHERE name = ANY (%(names)s)

-- name: server_size
SELECT sum(pg_catalog.pg_database_size(oid))::bigint AS bytes FROM pg_catalog.pg_database
