-- name: begin_status
-- A row for every tenant that has none yet.
INSERT INTO backups_backupstatus (tenant_id, failures, last_error, since)
SELECT t.id, 0, '', %(now)s FROM tenants_tenant t
WHERE t.state IN ('active', 'suspended')
  AND NOT EXISTS (SELECT 1 FROM backups_backupstatus s WHERE s.tenant_id = t.id)
ON CONFLICT DO NOTHING;

-- name: clock_set_back
-- What was worked out by a clock that has been set back since would keep a tenant waiting until that time comes again: it is
-- worked out anew.
UPDATE backups_backupstatus
SET planned_at = NULL, last_attempt_at = least(last_attempt_at, %(now)s), covered_until = least(covered_until, %(now)s)
WHERE planned_at > %(limit)s OR last_attempt_at > %(limit)s;

-- name: take_turn
-- A due tenant is this worker's, unless another was quicker: the time it was due is the token.
UPDATE backups_backupstatus SET next_at = %(next_at)s, window_ends_at = %(window_ends_at)s, last_attempt_at = %(now)s
WHERE tenant_id = %(tenant)s AND next_at = %(was)s;

-- name: finish_take
-- A backup is there: its row, its files' and how its tenant stands, by one statement, since a night has thousands.
WITH backup AS (
  UPDATE backups_backup
  SET state = 'succeeded', snapshot_at = %(snapshot_at)s, finished_at = %(now)s, verified_at = %(now)s, lsn = %(lsn)s,
      server_version = %(server_version)s, fingerprint = %(fingerprint)s, format_version = %(format_version)s,
      key_id = %(key_id)s, tables = %(tables)s, rows = %(rows)s, raw_bytes = %(raw_bytes)s,
      stored_bytes = %(stored_bytes)s, seconds = %(seconds)s, proof = %(proof)s
  WHERE id = %(backup)s AND state = 'running'
  RETURNING id, tenant_id
), files AS (
  UPDATE backups_backupcopy c
  SET state = 'stored', bytes = %(stored_bytes)s, stored_at = %(now)s, verified_at = %(now)s,
      locked_until = %(locked_until)s
  FROM backup WHERE c.backup_id = backup.id AND c.prefix = %(prefix)s AND c.state = 'writing'
), status AS (
  -- A backup by hand can come before the scheduler has seen the tenant: the row may not be there yet.
  INSERT INTO backups_backupstatus
    (tenant_id, last_backup_id, covered_until, overdue_at, failures, last_error, last_attempt_at, since)
  SELECT tenant_id, id, %(snapshot_at)s, %(overdue_at)s, 0, '', %(now)s, %(now)s
  FROM backup WHERE tenant_id IS NOT NULL
  ON CONFLICT (tenant_id) DO UPDATE
  SET last_backup_id = excluded.last_backup_id, covered_until = excluded.covered_until,
      overdue_at = excluded.overdue_at, failures = 0, last_error = '', last_attempt_at = excluded.last_attempt_at
)
SELECT count(*) FROM backup;

-- name: schema_comment
-- What the comment on a schema says; NULL without one.
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace') FROM pg_catalog.pg_namespace AS n WHERE n.nspname = %(schema)s;

-- name: lane
-- One of the few places in which backups of a cluster are taken at the same time; it is free again when this session
-- ends, whatever ends it.
SELECT pg_try_advisory_lock(hashtextextended('controlplane.backups.lane', 0) + %(cluster)s * 1000 + %(number)s);

-- name: leave_lane
SELECT pg_advisory_unlock(hashtextextended('controlplane.backups.lane', 0) + %(cluster)s * 1000 + %(number)s);

-- name: busy_storages
-- How many backups are being written to each storage now.
SELECT c.storage_id, count(*) FROM backups_backupcopy c
JOIN backups_backup b ON b.id = c.backup_id
JOIN tenants_operation o ON o.id = b.operation_id
WHERE c.state = 'writing' AND o.state IN ('running', 'cancelling') AND o.lease_expires_at >= %(now)s
GROUP BY 1;

-- name: tables_now
-- The tables of a schema that hold rows: name, the table whose partition it is (or itself), pages, rows by statistics.
SELECT c.relname::text, coalesce(root.relname, c.relname)::text, c.relpages, greatest(c.reltuples, 0)
FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid
LEFT JOIN pg_class AS root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
  AND d.refobjid = to_regnamespace(%(schema)s) AND c.relkind = 'r';

-- name: drill_candidates
-- The newest restorable backup of each living tenant, when the tenant was last proven, and whether this backup is of
-- another template version, format or major than the one that was; longest ago first. Without those that a drill was
-- begun for lately.
SELECT t.id, b.id, b.cluster_id, p.finished_at,
       p.finished_at IS NOT NULL AND (p.template, p.template_version, p.format_version, p.major)
         IS DISTINCT FROM (b.template, b.template_version, b.format_version, b.server_version / 10000) AS changed
FROM tenants_tenant AS t
CROSS JOIN LATERAL (
  SELECT * FROM backups_backup WHERE origin_id = t.id AND state = 'succeeded' AND damaged_at IS NULL
  ORDER BY created_at DESC, id DESC LIMIT 1
) AS b
LEFT JOIN LATERAL (
  SELECT d.finished_at, o.template, o.template_version, o.format_version, o.server_version / 10000 AS major
  FROM backups_restoredrill AS d JOIN backups_backup AS o ON o.id = d.backup_id
  WHERE d.tenant_id = t.id AND d.state = 'succeeded' ORDER BY d.started_at DESC LIMIT 1
) AS p ON true
WHERE t.state IN ('active', 'suspended')
  AND NOT EXISTS (SELECT FROM backups_restoredrill AS d
                  WHERE d.backup_id = b.id AND (d.state = 'running' OR (d.state = 'failed' AND d.started_at > %(pause)s)))
ORDER BY changed DESC, p.finished_at NULLS FIRST, t.id;
