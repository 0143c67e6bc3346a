-- name: resolve
-- The newest version of a template, a plan and a cluster with its pooler and provisioner, by name or the default ones. Filled in by
-- tenants.rows: a name in braces stands for that table's columns.
SELECT {version}, {template}, {plan}, {cluster}, {pooler}, {provisioner}
FROM (SELECT) AS nothing
LEFT JOIN provisioning_template AS template
  ON CASE WHEN %(template_name)s::text IS NULL THEN template.is_default ELSE template.name = %(template_name)s::text END
LEFT JOIN LATERAL (
  SELECT * FROM provisioning_templateversion WHERE template_id = template.id ORDER BY number DESC LIMIT 1
) AS version ON true
LEFT JOIN tenants_plan AS plan
  ON CASE WHEN %(plan_slug)s::text IS NULL THEN plan.is_default ELSE plan.slug = %(plan_slug)s::text END
LEFT JOIN tenants_cluster AS cluster
  ON CASE WHEN %(cluster_name)s::text IS NULL THEN cluster.is_default ELSE cluster.name = %(cluster_name)s::text END
LEFT JOIN tenants_pooler AS pooler ON pooler.cluster_id = cluster.id
LEFT JOIN tenants_clusterlogin AS provisioner ON provisioner.id = cluster.provisioner_id;

-- name: claim_slot
-- Gives the oldest ready slot to a tenant, whose row follows in the same transaction. Whoever claims at the same moment
-- skips it and takes the next. What it was, secret included, is returned; the secret stays only with the tenant.
WITH chosen AS (
  SELECT * FROM provisioning_schemaslot
  WHERE cluster_id = %(cluster)s AND template_version_id = %(version)s AND state = 'ready'
  ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE provisioning_schemaslot AS slot
SET state = 'claimed', tenant_id = %(tenant)s, claimed_at = %(now)s, secret = ''
FROM chosen WHERE slot.id = chosen.id
RETURNING {chosen};

-- name: activate
-- A tenant whose login is open becomes active, and its slot, if that was made for it, claimed.
WITH login AS (
  UPDATE tenants_tenantrole SET state = 'active', issued_at = %(now)s, collected_at = %(collected_at)s
  WHERE tenant_id = %(tenant)s AND name = %(login)s
  RETURNING tenant_id
), slot AS (
  UPDATE provisioning_schemaslot SET state = 'claimed', claimed_at = %(now)s, secret = ''
  WHERE tenant_id = %(tenant)s AND state = 'building'
)
UPDATE tenants_tenant AS tenant SET state = 'active', state_reason = '', version = version + 1, updated_at = %(now)s
FROM login WHERE tenant.id = login.tenant_id AND tenant.state = 'provisioning'
RETURNING tenant.version;

-- name: logins_to_rotate
-- Tenants whose login is older than its plan (or the tenant itself) allows, the most overdue first. Each is due somewhat
-- earlier than at that age, by a part of the plan's jitter (at most half of the age) that its login's name decides. A
-- tenant with a login that is still retiring, or with something going on, waits.
SELECT tenant_id FROM (
  SELECT role.tenant_id,
         role.issued_at + age.days * interval '1 day'
           - (least(plan.rotation_jitter_days, age.days / 2.0) * 86400
              * ('x' || left(md5(role.name || role.issued_at::text), 8))::bit(32)::bigint / 4294967296.0) * interval '1 second'
           AS due_at
  FROM tenants_tenantrole AS role
  JOIN tenants_tenant AS tenant ON tenant.id = role.tenant_id AND tenant.state = 'active'
  JOIN tenants_plan AS plan ON plan.id = tenant.plan_id
  CROSS JOIN LATERAL (
    SELECT coalesce((tenant.limits ->> 'rotation_max_age_days')::int, plan.rotation_max_age_days) AS days
  ) AS age
  WHERE role.state = 'active' AND age.days > 0
    AND NOT EXISTS (SELECT FROM tenants_tenantrole AS old WHERE old.tenant_id = role.tenant_id AND old.state = 'retiring')
    AND NOT EXISTS (SELECT FROM tenants_operation AS op WHERE op.tenant_id = role.tenant_id AND op.exclusive
                                                          AND op.state IN ('pending', 'running', 'cancelling'))
) AS due
WHERE due_at <= now() ORDER BY due_at LIMIT %(limit)s;
