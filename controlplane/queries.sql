-- name: operation_counts
-- Open operations, and those that ended in the last 24 hours.
SELECT count(*) FILTER (WHERE state IN ('running', 'cancelling')) AS running,
       count(*) FILTER (WHERE state = 'pending') AS pending,
       count(*) FILTER (WHERE state = 'failed') AS failed,
       count(*) FILTER (WHERE state = 'succeeded') AS succeeded
FROM tenants_operation
WHERE state IN ('pending', 'running', 'cancelling') OR finished_at >= now() - interval '24 hours';

-- name: provisioning_by_hour
-- Provisionings of the last 24 hours by the hour they began (0: the present one), warm and cold and failed.
SELECT floor(extract(epoch FROM now() - created_at) / 3600)::int AS hours_ago,
       count(*) FILTER (WHERE state = 'succeeded' AND (result ->> 'warm')::boolean) AS warm,
       count(*) FILTER (WHERE state = 'succeeded' AND NOT coalesce((result ->> 'warm')::boolean, false)) AS cold,
       count(*) FILTER (WHERE state IN ('failed', 'cancelled')) AS failed
FROM tenants_operation
WHERE kind = 'tenant.provision' AND created_at >= now() - interval '24 hours'
GROUP BY 1;
