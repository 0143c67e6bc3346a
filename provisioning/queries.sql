-- name: existing_roles
-- Which of these roles exist.
SELECT rolname FROM pg_roles WHERE rolname = ANY(%s);

-- name: schema_exists
-- Whether a schema of this name exists.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s);

-- name: end_sessions
-- Ends every session of these logins, and says how many there were.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = ANY(%s);

-- name: count_sessions
-- Open sessions of these logins.
SELECT count(*) FROM pg_stat_activity WHERE usename = ANY(%s);

-- name: can_log_in
-- Which of these roles may log in.
SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND rolcanlogin;

-- name: create_roles
-- tenants/prepare.sql: a schema's roles, none of which can log in.
SELECT cp.create_roles(%s, %s);

-- name: take_owner
-- tenants/prepare.sql: the session may become the schema's owner.
SELECT cp.take_owner(%s);

-- name: release_owner
-- tenants/prepare.sql: and no longer.
SELECT cp.release_owner(%s);

-- name: set_limits
-- tenants/prepare.sql: connection limit and settings of logins.
SELECT cp.set_limits(%s, %s, %s, %s);

-- name: set_password
-- tenants/prepare.sql: a login's new verifier.
SELECT cp.set_password(%s, %s, %s);

-- name: open_logins
-- tenants/prepare.sql: logins may log in, with the passwords they have.
SELECT cp.open_logins(%s, %s);

-- name: close_logins
-- tenants/prepare.sql: no more logging in.
SELECT cp.close_logins(%s, %s, %s);

-- name: drop_roles
-- tenants/prepare.sql: all of a schema's roles.
SELECT cp.drop_roles(%s);

-- name: droppable_relations
-- Some of a schema's tables, partitions and materialized views, most dependent first. pg_depend's index on the
-- referenced object is used, since no index of pg_class leads with the namespace.
SELECT c.relkind::text, c.relname
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
  AND d.refobjid = to_regnamespace(%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relispartition DESC, c.relkind IN ('v', 'm') DESC, c.oid DESC
LIMIT %s;

-- name: tenant_schemas
-- Every schema on the cluster that has the form of a tenant's.
SELECT nspname FROM pg_namespace WHERE nspname ~ '^t_[a-z2-7]{20}$';

-- name: resolve
-- The newest version of a template, a plan and a cluster with its pooler, by name or the default ones. Filled in by
-- tenants.rows: a name in braces stands for that table's columns.
SELECT {version}, {template}, {plan}, {cluster}, {pooler}
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
LEFT JOIN tenants_pooler AS pooler ON pooler.cluster_id = cluster.id;

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

-- name: open_migrator
-- tenants/prepare.sql: a login that acts as the schema's owner until a moment.
SELECT cp.open_migrator(%s, %s, %s, %s);

-- name: drop_migrator
-- tenants/prepare.sql: and no longer.
SELECT cp.drop_migrator(%s);

-- name: open_credential
-- tenants/prepare.sql: an additional login, until a moment.
SELECT cp.open_credential(%s, %s, %s, %s, %s, %s, %s);

-- name: drop_credential
-- tenants/prepare.sql: and no longer.
SELECT cp.drop_credential(%s, %s);

-- name: additional_logins
-- The additional logins of a schema that exist. The range is that of an index on the names.
SELECT rolname::text FROM pg_roles
WHERE rolname >= (%(schema)s || '_ro_')::name AND rolname < (%(schema)s || '_rx')::name AND rolname ~ '_r[ow]_[a-z2-7]{6}$'
ORDER BY 1;

-- name: last_seen
-- How many seconds ago a session of each of these logins last did something: 0 for one that is at it now.
SELECT usename::text, min(CASE WHEN state = 'idle' THEN greatest(extract(epoch FROM now() - state_change), 0) ELSE 0 END)::float
FROM pg_stat_activity
WHERE usename = ANY(%s) AND backend_type = 'client backend'
GROUP BY usename;

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

-- name: guard_findings
-- tenants/hardening/guard.sql: what is wrong with a schema's protection.
SELECT cp.guard_findings(%s);
