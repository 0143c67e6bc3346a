-- name: try_sealer
-- One sealer at a time; the lock ends with the transaction, whatever happens to the process.
SELECT pg_try_advisory_xact_lock(hashtextextended('controlplane.audit.sealer', 0));

-- name: sealer_state
-- Where the sealer is, and whether all that was under way at its mark has ended. Read before the events are: what has
-- ended by now is seen by the statements after this one. The minute is for a transaction that has taken its event's
-- id but not yet an id of its own.
SELECT log_id, scan_from,
       mark_id IS NOT NULL AND mark_at < clock_timestamp() - interval '1 minute'
         AND pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= mark_xid AS mark_passed
FROM tenants_auditsealer WHERE id = 1;

-- name: chain_end
-- The last seal.
SELECT seq, hash FROM tenants_auditseal ORDER BY seq DESC LIMIT 1;

-- name: unsealed
-- Committed events without a seal, from `scan_from` on, oldest first; each as the texts that are hashed.
SELECT e.id::text,
       to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       e.action, e.outcome, e.actor_kind, e.actor_id, e.actor_label, e.channel, host(e.ip), e.request_id,
       e.tenant_id::text, e.tenant_slug, e.target_type, e.target_id, e.target_label,
       e.before::text, e.after::text, e.reason
FROM tenants_auditevent e
WHERE e.id >= %(scan_from)s
  AND NOT EXISTS (SELECT FROM tenants_auditseal s WHERE s.event_id = e.id)
ORDER BY e.id
LIMIT %(limit)s;

-- name: now
-- The server's clock, as it is hashed.
SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- name: copy_seals
COPY tenants_auditseal (seq, event_id, sealed_at, digest, hash) FROM STDIN;

-- name: newest_event
-- Ids above this one are looked at anyway.
SELECT max(id) FROM tenants_auditevent;

-- name: advance
-- Note the pass, move the start to behind the mark when that is passed, and set a new mark when there is none. Whoever
-- has taken an id up to the newest one began before this statement, and so below its snapshot's xmax.
UPDATE tenants_auditsealer SET
  ran_at = clock_timestamp(),
  scan_from = CASE WHEN %(passed)s THEN mark_id + 1 ELSE scan_from END,
  mark_id = CASE WHEN %(passed)s OR mark_id IS NULL THEN %(newest)s ELSE mark_id END,
  mark_xid = CASE WHEN %(passed)s OR mark_id IS NULL THEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                  ELSE mark_xid END,
  mark_at = CASE WHEN %(passed)s OR mark_id IS NULL THEN clock_timestamp() ELSE mark_at END
WHERE id = 1;

-- name: waiting
-- How many events wait for their seal (counted up to 100,000), and since when.
SELECT count(*), min(w.at) FROM (
  SELECT e.at FROM tenants_auditevent e
  WHERE e.id >= (SELECT scan_from FROM tenants_auditsealer WHERE id = 1)
    AND NOT EXISTS (SELECT FROM tenants_auditseal s WHERE s.event_id = e.id)
  LIMIT 100000) w;

-- name: try_checkpoint
-- One signer at a time.
SELECT pg_try_advisory_xact_lock(hashtextextended('controlplane.audit.checkpoint', 0));

-- name: actions
-- Every action in the log, by as many steps through its index (a DISTINCT would read all of it).
WITH RECURSIVE a (action) AS (
  (SELECT action FROM tenants_auditevent ORDER BY action LIMIT 1)
  UNION ALL
  SELECT (SELECT e.action FROM tenants_auditevent e WHERE e.action > a.action ORDER BY e.action LIMIT 1)
  FROM a WHERE a.action IS NOT NULL)
SELECT action FROM a WHERE action IS NOT NULL;
