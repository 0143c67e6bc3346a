-- name: growth
-- Bytes a day by least squares over the daily sizes; of one tenant, or the fastest of a cluster or of all.
SELECT tenant_id,
       regr_slope(total_bytes, extract(epoch FROM taken_at) / 86400) AS bytes_per_day,
       count(total_bytes)::int,
       max(taken_at)
FROM monitoring_tenant_size_daily
WHERE taken_at >= %(since)s
  AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND (%(cluster)s::bigint IS NULL OR cluster_id = %(cluster)s)
GROUP BY tenant_id
HAVING regr_slope(total_bytes, extract(epoch FROM taken_at) / 86400) IS NOT NULL
ORDER BY bytes_per_day DESC, tenant_id
LIMIT %(count)s;

-- name: creation_times
-- Percentiles of how long tenants waited: of all, of those that found a warm slot, of the others.
WITH made AS (
    SELECT extract(epoch FROM finished_at - created_at)::float8 AS seconds,
           CASE WHEN coalesce((result ->> 'warm')::boolean, false) THEN 'warm' ELSE 'cold' END AS kind
    FROM tenants_operation
    WHERE kind = 'tenant.provision' AND state = 'succeeded' AND created_at >= %(begin)s AND created_at <= %(end)s
)
SELECT coalesce(kind, 'all'), count(*),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds),
       max(seconds),
       count(*) FILTER (WHERE seconds > %(warning)s),
       count(*) FILTER (WHERE seconds > %(critical)s)
FROM made
GROUP BY ROLLUP (kind)
HAVING count(*) > 0;

-- name: creation_histogram
-- How many took up to each bound: bucket n ends with the n-th (from 0), the last one has no end.
SELECT coalesce((result ->> 'warm')::boolean, false),
       (SELECT count(*) FROM unnest(%(bounds)s::float8[]) bound
         WHERE bound < extract(epoch FROM finished_at - created_at))::int AS bucket,
       count(*)
FROM tenants_operation
WHERE kind = 'tenant.provision' AND state = 'succeeded' AND created_at >= %(begin)s AND created_at <= %(end)s
GROUP BY 1, 2;

-- name: creation_course
-- The same over time.
SELECT date_bin(%(step)s, created_at, %(begin)s),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)::float8),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)::float8),
       max(extract(epoch FROM finished_at - created_at)::float8)
FROM tenants_operation
WHERE kind = 'tenant.provision' AND state = 'succeeded' AND created_at >= %(begin)s AND created_at <= %(end)s
GROUP BY 1;
