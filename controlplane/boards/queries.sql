-- name: backup_rates
-- Backups that ended within a day and within 30, by how. One that is cleared away by now has succeeded once.
SELECT count(*) FILTER (WHERE state <> 'failed' AND at >= now() - interval '1 day') AS day_succeeded,
       count(*) FILTER (WHERE state = 'failed' AND at >= now() - interval '1 day') AS day_failed,
       count(*) FILTER (WHERE state <> 'failed') AS month_succeeded,
       count(*) FILTER (WHERE state = 'failed') AS month_failed
FROM (SELECT state, coalesce(finished_at, created_at) AS at
      FROM backups_backup
      -- By the index on created_at: none takes longer than a day.
      WHERE created_at >= now() - interval '31 days' AND state <> 'running') ended
WHERE at >= now() - interval '30 days';

-- name: backup_status
-- Of tenants that are to be backed up: how many never were, how many are overdue, and the oldest recovery point.
SELECT count(*) FILTER (WHERE covered_until IS NULL) AS never,
       count(*) FILTER (WHERE overdue_at <= now()) AS overdue,
       min(covered_until) AS oldest_at,
       (array_agg(tenant.id ORDER BY covered_until) FILTER (WHERE covered_until IS NOT NULL))[1] AS oldest_tenant,
       (array_agg(tenant.slug ORDER BY covered_until) FILTER (WHERE covered_until IS NOT NULL))[1] AS oldest_slug
FROM tenants_tenant tenant
LEFT JOIN backups_backupstatus status ON status.tenant_id = tenant.id
WHERE tenant.state IN ('active', 'suspended');
