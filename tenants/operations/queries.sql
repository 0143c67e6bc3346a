-- name: begin_step
-- Writes down that a step begins, if this attempt still owns the operation: one statement, since each provisioning
-- passes here several times, and one that does not wait for the disk. A server that crashes may forget it, and then the
-- step is done again, which any step allows. The end of the step before rides along.
WITH relaxed AS (
  SELECT set_config('synchronous_commit', 'off', true)
), owned AS (
  UPDATE tenants_operation SET progress = %(progress)s
  WHERE id = %(operation)s AND attempt = %(attempt)s AND state = ANY(%(states)s)
  RETURNING id
), ended AS (
  UPDATE tenants_operationstep SET state = 'succeeded', ended_at = %(ended_at)s
  WHERE operation_id = %(operation)s AND name = %(ended)s AND attempt = %(attempt)s
)
INSERT INTO tenants_operationstep (operation_id, name, state, attempt, started_at, error)
SELECT id, %(name)s, 'running', %(attempt)s, %(now)s, '' FROM owned, relaxed
ON CONFLICT (operation_id, name) DO UPDATE
SET state = 'running', attempt = excluded.attempt, started_at = excluded.started_at, ended_at = NULL, error = '';

-- name: end_step
-- Writes down how a step ended, without waiting for the disk either.
WITH relaxed AS (
  SELECT set_config('synchronous_commit', 'off', true)
)
UPDATE tenants_operationstep SET state = %(state)s, ended_at = %(now)s, error = %(error)s
FROM relaxed
WHERE operation_id = %(operation)s AND name = %(name)s AND attempt = %(attempt)s;

-- name: finish
-- The work has succeeded, if this attempt still owns the operation; the end of its last step rides along.
WITH ended AS (
  UPDATE tenants_operationstep SET state = 'succeeded', ended_at = %(ended_at)s
  WHERE operation_id = %(operation)s AND name = %(ended)s AND attempt = %(attempt)s
)
UPDATE tenants_operation
SET state = 'succeeded', progress = 100, finished_at = %(now)s, lease_expires_at = NULL, result = %(result)s, error = NULL
WHERE id = %(operation)s AND attempt = %(attempt)s AND state = 'running';

-- name: lock_cluster
-- How much heavy work a cluster bears at a time; whoever else asks waits until this transaction ends.
SELECT max_parallel FROM tenants_cluster WHERE id = %(cluster)s FOR NO KEY UPDATE;

-- name: due
-- Operations that wait for a worker: pending, or abandoned by theirs.
SELECT id FROM tenants_operation
WHERE state = 'pending' OR (state IN ('running', 'cancelling') AND lease_expires_at < %(now)s)
ORDER BY created_at LIMIT 16;

-- name: claimable
-- An operation that waits for a worker, locked, with its tenant and where that lives. Filled in by tenants.rows. Who asks
-- at the same moment gets nothing.
SELECT {operation}, {tenant}, {plan}, {cluster}, {provisioner}
FROM tenants_operation AS operation
LEFT JOIN tenants_tenant AS tenant ON tenant.id = operation.tenant_id
LEFT JOIN tenants_plan AS plan ON plan.id = tenant.plan_id
LEFT JOIN tenants_cluster AS cluster ON cluster.id = tenant.cluster_id
LEFT JOIN tenants_clusterlogin AS provisioner ON provisioner.id = cluster.provisioner_id
WHERE operation.id = %(operation)s
  AND (operation.state = 'pending'
       OR (operation.state IN ('running', 'cancelling') AND operation.lease_expires_at < %(now)s))
FOR UPDATE OF operation SKIP LOCKED;

-- name: take
-- Makes a locked operation ours, unless `most` others of heavy kinds are at work on its cluster already.
UPDATE tenants_operation
SET attempt = attempt + 1, worker = %(worker)s, started_at = coalesce(started_at, %(now)s), heartbeat_at = %(now)s,
    lease_expires_at = %(until)s, state = CASE state WHEN 'pending' THEN 'running' ELSE state END
WHERE id = %(operation)s
  AND (%(most)s::int IS NULL OR %(most)s::int > (
    SELECT count(*) FROM tenants_operation AS other
    WHERE other.cluster_id = %(cluster)s AND other.id <> %(operation)s AND other.kind = ANY(%(heavy)s)
      AND other.state IN ('running', 'cancelling') AND other.lease_expires_at >= %(now)s));
