-- What was measured of many alerts, in one statement: the ORM's CASE for each row and column takes minutes for thousands.
-- name: save_seen
UPDATE monitoring_alert AS alert
   SET value = seen.value, seen_at = seen.seen_at, clear_since = seen.clear_since, no_data_since = seen.no_data_since,
       summary = seen.summary, description = seen.description
  FROM unnest(
         %(id)s::bigint[], %(value)s::float8[], %(seen_at)s::timestamptz[], %(clear_since)s::timestamptz[],
         %(no_data_since)s::timestamptz[], %(summary)s::text[], %(description)s::text[]
       ) AS seen (id, value, seen_at, clear_since, no_data_since, summary, description)
 WHERE alert.id = seen.id
