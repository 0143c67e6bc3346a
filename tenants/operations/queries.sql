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

-- name: running_heavy
-- How many other heavy operations are at work on a cluster.
SELECT count(*) FROM tenants_operation
WHERE cluster_id = %(cluster)s AND id <> %(operation)s AND kind = ANY(%(heavy)s)
  AND state IN ('running', 'cancelling') AND lease_expires_at >= %(now)s;
