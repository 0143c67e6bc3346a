-- name: changed_rows
-- What the writers change: a row each, so that they wait for nobody but the log.
CREATE TABLE bench_row (id int PRIMARY KEY, value bigint NOT NULL);

-- name: fill_changed_rows
INSERT INTO bench_row SELECT n, 0 FROM generate_series(1, %(writers)s) AS n;

-- name: change
-- The change that is audited.
UPDATE bench_row SET value = value + 1 WHERE id = %(id)s;

-- name: fill
-- Events as a fleet of 2,000 tenants leaves them within two years: few actors do much and many little, one in
-- two hundred is refused, one in a thousand fails.
INSERT INTO tenants_auditevent (at, action, outcome, actor_kind, actor_id, actor_label, channel, ip, request_id,
  tenant_id, tenant_slug, target_type, target_id, target_label, before, after, reason)
SELECT now() - interval '2 years' + (interval '2 years' * n / %(of)s),
  (ARRAY['tenant.provision', 'tenant.provision', 'tenant.suspend', 'tenant.resume', 'credentials.rotate', 'operation.finish',
         'operation.finish', 'login.success', 'plan.update', 'access.denied'])[1 + h %% 10],
  CASE WHEN h %% 200 = 7 THEN 'denied' WHEN h %% 1000 = 11 THEN 'failure' ELSE 'success' END,
  CASE WHEN h %% 3 = 0 THEN 'user' ELSE 'api_key' END,
  ((h %% 50) * (h %% 40))::text, 'actor ' || ((h %% 50) * (h %% 40)),
  (ARRAY['rest', 'rest', 'rest', 'rest', 'rest', 'rest', 'admin', 'admin', 'worker', 'command'])[1 + (h / 10) %% 10],
  ('10.0.' || h %% 256 || '.' || (h / 256) %% 256)::inet, md5((n / 3)::text),
  md5('tenant ' || t)::uuid, 'tenant-' || t, 'tenant', md5('tenant ' || t), 'tenant-' || t,
  jsonb_build_object('state', 'active', 'version', n), jsonb_build_object('state', 'suspended', 'version', n + 1),
  'measured'
FROM (SELECT n, h, (h %% 2000) * (h %% 7) / 7 AS t
      FROM (SELECT n, abs(hashint8(n::bigint)::bigint) AS h FROM generate_series(%(first)s::bigint, %(last)s) AS n) a) b;

-- name: settle
-- Statistics and visibility as autovacuum leaves them.
VACUUM (ANALYZE) tenants_auditevent;
