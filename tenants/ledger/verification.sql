-- name: seals
-- A stretch of the chain with its events, each as the texts that are hashed (e.id is NULL where the event is gone).
SELECT s.seq, s.event_id, to_char(s.sealed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), s.digest, s.hash,
       e.id::text, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       e.action, e.outcome, e.actor_kind, e.actor_id, e.actor_label, e.channel, host(e.ip), e.request_id,
       e.tenant_id::text, e.tenant_slug, e.target_type, e.target_id, e.target_label,
       e.before::text, e.after::text, e.reason
FROM tenants_auditseal s LEFT JOIN tenants_auditevent e ON e.id = s.event_id
WHERE s.seq > %(above)s AND s.seq <= %(upto)s
ORDER BY s.seq;

-- name: seal
-- One seal: what it says the chain's hash was.
SELECT hash, event_id FROM tenants_auditseal WHERE seq = %(seq)s;

-- name: last_seq
-- The end of the chain.
SELECT coalesce(max(seq), 0) FROM tenants_auditseal;

-- name: log
-- The log's id, and below which event the sealer says it has sealed all.
SELECT log_id, scan_from FROM tenants_auditsealer WHERE id = 1;

-- name: checkpoints
-- Our own copies of what was signed.
SELECT number, document FROM tenants_auditcheckpoint WHERE number >= %(since)s ORDER BY number;

-- name: never_sealed
-- Events the sealer has passed by: no honest writer makes them (they were put in afterwards, or their seals are gone).
SELECT e.id, e.at FROM tenants_auditevent e
WHERE e.id >= %(since)s AND e.id < %(scan_from)s
  AND NOT EXISTS (SELECT FROM tenants_auditseal s WHERE s.event_id = e.id)
ORDER BY e.id LIMIT 20;

-- name: waiting_long
-- Events that should have been sealed by now: the sealer is not running.
SELECT count(*), min(w.at) FROM (
  SELECT e.at FROM tenants_auditevent e
  WHERE e.id >= %(scan_from)s AND e.at < now() - interval '1 minute'
    AND NOT EXISTS (SELECT FROM tenants_auditseal s WHERE s.event_id = e.id)
  LIMIT 100000) w;

-- name: tables
-- The log's tables: who owns them, whether this login can act as the owner, and what could hide or swallow rows.
SELECT w.name, c.oid IS NOT NULL AS present, c.relkind::text AS kind, r.rolname AS owner,
       pg_has_role(c.relowner, 'MEMBER') AS ours, c.relrowsecurity AS row_security,
       EXISTS (SELECT FROM pg_rewrite x WHERE x.ev_class = c.oid) AS rules,
       EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid)) AS inherits
FROM unnest(%(names)s::text[]) AS w (name)
LEFT JOIN pg_class c ON c.oid = to_regclass('public.' || quote_ident(w.name))
LEFT JOIN pg_roles r ON r.oid = c.relowner;

-- name: triggers
-- Every trigger of theirs, with what it runs.
SELECT c.relname AS name, t.tgname AS trigger, t.tgenabled::text AS enabled, t.tgtype AS type,
       t.tgqual IS NOT NULL AS conditional, p.prosrc AS source
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND c.oid IN (SELECT to_regclass('public.' || quote_ident(n)) FROM unnest(%(names)s::text[]) AS n);
