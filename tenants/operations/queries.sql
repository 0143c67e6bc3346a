-- name: begin_step
-- Writes down that a step begins, if this attempt still owns the operation: one statement, since each provisioning
-- passes here several times.
WITH owned AS (
  UPDATE tenants_operation SET progress = %(progress)s
  WHERE id = %(operation)s AND attempt = %(attempt)s AND state = ANY(%(states)s)
  RETURNING id
)
INSERT INTO tenants_operationstep (operation_id, name, state, attempt, started_at, error)
SELECT id, %(name)s, 'running', %(attempt)s, %(now)s, '' FROM owned
ON CONFLICT (operation_id, name) DO UPDATE
SET state = 'running', attempt = excluded.attempt, started_at = excluded.started_at, ended_at = NULL, error = '';
