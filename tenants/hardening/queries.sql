-- name: open_to_public
-- What is open to every login of the server at this moment and is closed at some level: the level, what it is, its name,
-- and the statements that close it, keeping it open to the control plane's own logins. Empty at the level `sealed`.
-- Both preparing and checking use this one query, so that neither knows of something the other does not.
WITH pattern AS (
    SELECT
    -- Statistics, activity, locks, sizes, large objects, advisory locks, notify(), WAL and the server's counters.
    '^(pg_advisory_|pg_try_advisory_|lo_|loread$|lowrite$|pg_notify$|pg_notification_queue_usage$|pg_listening_channels$'
    '|pg_stat_get_|pg_lock_status$|pg_blocking_pids$|pg_safe_snapshot_blocking_pids$|pg_isolation_test_|pg_prepared_xact$'
    '|pg_get_replication_slots$|pg_show_replication_origin_status$|pg_(total_)?relation_size$|pg_table_size$|pg_indexes_size$'
    '|pg_database_size$|pg_tablespace_size$|pg_tablespace_location$|pg_relation_filepath$|pg_relation_filenode$'
    '|pg_filenode_relation$|pg_tablespace_databases$|pg_logical_emit_message$|pg_current_wal_|pg_control_'
    '|pg_last_committed_xact$|pg_xact_commit_timestamp|pg_xact_status$|txid_status$|pg_get_multixact_members$'
    '|pg_sequence_last_value$|pg_get_sequence_data$|pg_postmaster_start_time$|pg_conf_load_time$|pg_export_snapshot$'
    '|pg_get_publication_tables$|pg_get_wal_|pg_last_wal_|pg_last_xact_|pg_show_all_file_settings$|pg_get_aios$'
    '|pg_get_process_memory_contexts$|pg_get_loaded_modules$|pg_config$|pg_trigger_depth_never$)' AS f1,
    '^(pg_stat_|pg_statio_|pg_locks$|pg_prepared_xacts$|pg_roles$|pg_user$|pg_group$|pg_auth_members$|pg_db_role_setting$'
    '|pg_shdescription$|pg_shdepend$|pg_shseclabel$|pg_seclabels?$|pg_database$|pg_tablespace$|pg_largeobject_metadata$'
    '|pg_replication_|pg_publication|pg_subscription|pg_foreign_|pg_user_mappings?$|pg_default_acl$|pg_init_privs$'
    '|pg_policy$|pg_policies$|pg_sequences$|pg_sequence$|pg_stats|pg_statistic_ext$|pg_parameter_acl$|pg_event_trigger$'
    '|pg_transform$|pg_aios$|pg_wait_events$|pg_config$)' AS r1,
    -- Everything else that shows names or definitions.
    '^(pg_get_(viewdef|functiondef|function_|constraintdef|indexdef|triggerdef|ruledef|partkeydef|partition_constraintdef'
    '|statisticsobjdef|replica_identity_index|expr|serial_sequence|object_address|acl|userbyid)|pg_describe_object$'
    '|pg_identify_object|obj_description$|col_description$|shobj_description$|format_type$|pg_basetype$|pg_partition_'
    '|pg_relation_is_|pg_column_is_|pg_index_|pg_indexam_|row_security_active$|pg_sequence_parameters$'
    '|pg_.*_is_visible$|aclexplode$|acldefault$)' AS f2,
    '^pg_(class|attribute|namespace|proc|attrdef|constraint|index|indexes|views|matviews|tables|rules|rewrite|trigger'
    '|description|enum|depend|inherits|operator|opclass|opfamily|ts_.*|collation|conversion|cast|extension'
    '|partitioned_table|range|aggregate|type|language|am.*)$' AS r2,
    -- Extensions' views and functions that look at the whole server, or out of it.
    '^(pg_stat_statements|pgstat|pg_buffercache|pg_visibility|pg_freespace|pg_relpages|dblink|postgres_fdw|pg_walinspect'
    '|pg_prewarm|autoprewarm|pgrowlocks|pg_show_plans)' AS extension,
    -- Drivers look types up by these; defaults and privileges of types stay closed.
    'oid,typname,typnamespace,typlen,typbyval,typtype,typcategory,typispreferred,typisdefined,typdelim,typrelid,typelem,'
    'typarray,typbasetype,typtypmod,typndims,typnotnull' AS type_columns
), relation AS (
    SELECT c.oid, c.oid::regclass::text AS name, c.relname, c.relacl, c.relowner, c.relkind, n.nspname,
           CASE WHEN n.nspname <> 'pg_catalog' OR c.relname ~ p.r1 THEN 'lockdown' ELSE 'sealed' END AS level
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, pattern p
    WHERE (n.nspname = 'pg_catalog' AND c.relkind IN ('r', 'v') AND (c.relname ~ p.r1 OR c.relname ~ p.r2))
       OR (n.nspname = 'extensions' AND c.relkind IN ('r', 'v') AND c.relname ~ p.extension)
       OR (n.nspname IN ('_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information')
           AND c.relkind IN ('r', 'p', 'v'))
), routine AS (
    SELECT p.oid, p.oid::regprocedure::text AS name, n.nspname = 'cp' AS ours,
           CASE WHEN n.nspname <> 'pg_catalog' OR p.proname ~ w.f1 THEN 'lockdown' ELSE 'sealed' END AS level
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace, pattern w
    WHERE CASE n.nspname WHEN 'pg_catalog' THEN (p.proname ~ w.f1 OR p.proname ~ w.f2)
                                                -- information_schema's views call these as whoever reads them
                                                AND p.proname !~ '^has_.*_privilege$|^pg_has_role$'
                         WHEN 'extensions' THEN p.proname ~ w.extension ELSE n.nspname = 'cp' END
      AND has_function_privilege('public', p.oid, 'EXECUTE')
), found AS (
    SELECT CASE WHEN d.datname = current_database() THEN 'baseline' ELSE 'lockdown' END AS level, 'database' AS kind,
           d.datname::text AS name, format('REVOKE ALL ON DATABASE %I FROM PUBLIC', d.datname) AS statement
    FROM pg_catalog.pg_database d
    WHERE d.datname IN (current_database(), 'postgres', 'template1')
      AND EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0)
    UNION ALL
    SELECT 'baseline', 'schema', n.nspname, format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', n.nspname)
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname IN ('public', 'cp', 'extensions')
      AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0)
    UNION ALL
    SELECT 'lockdown', 'language', l.lanname,
           format('GRANT USAGE ON LANGUAGE %1$I TO cp_owners, cp_operator; REVOKE USAGE ON LANGUAGE %1$I FROM PUBLIC', l.lanname)
    FROM pg_catalog.pg_language l
    WHERE l.lanpltrusted AND has_language_privilege('public', l.oid, 'USAGE')
    UNION ALL
    SELECT r.level, 'function', r.name,
           CASE WHEN r.ours THEN '' ELSE format('GRANT EXECUTE ON FUNCTION %s TO cp_operator; ', r.name) END
           || format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', r.name)
    FROM routine r
    UNION ALL
    SELECT r.level, 'relation', r.name,
           format('GRANT SELECT ON %1$s TO cp_operator; REVOKE ALL ON %1$s FROM PUBLIC', r.name)
           || CASE r.relname WHEN 'pg_type' THEN '; GRANT SELECT (' || p.type_columns || ') ON pg_type TO PUBLIC' ELSE '' END
    FROM relation r, pattern p
    WHERE r.name <> 'pg_range'
      AND EXISTS (SELECT FROM aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) a WHERE a.grantee = 0)
    UNION ALL
    SELECT r.level, 'columns', r.name,
           format('GRANT SELECT (%1$s) ON %2$s TO cp_operator; REVOKE ALL (%1$s) ON %2$s FROM PUBLIC',
                  string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), r.name)
    FROM relation r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND a.attacl IS NOT NULL, pattern p
    WHERE EXISTS (SELECT FROM aclexplode(a.attacl) x WHERE x.grantee = 0)
      AND NOT (r.relname = 'pg_type' AND a.attname = ANY (string_to_array(p.type_columns, ',')))
    GROUP BY r.level, r.name
    UNION ALL
    -- Closed by guard.sql, which prepare_cluster runs by itself: hence no statement.
    SELECT 'lockdown', 'event trigger', wanted.name, NULL
    FROM (VALUES ('tenant_guard'), ('tenant_guard_drop')) wanted (name)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_event_trigger e
        JOIN pg_catalog.pg_proc f ON f.oid = e.evtfoid
        JOIN pg_catalog.pg_roles o ON o.oid = f.proowner AND o.rolsuper
        WHERE e.evtname = wanted.name AND e.evtenabled IN ('O', 'A') AND e.evttags IS NULL AND f.prosecdef
          AND f.oid = to_regprocedure(CASE wanted.name WHEN 'tenant_guard' THEN 'cp.guard()' ELSE 'cp.guard_drop()' END))
)
SELECT level, kind, name, statement FROM found
ORDER BY array_position(ARRAY['baseline', 'lockdown', 'sealed'], level), kind, name;

-- name: is_superuser
-- Whether this session may do everything.
SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user;

-- name: owners_to_join
-- Owners of this database's schemas that are not yet in the owners' group.
SELECT r.rolname::text FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
WHERE n.nspname ~ '^t_[a-z2-7]{20}$' AND r.rolname = n.nspname || '_owner'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                  WHERE m.roleid = 'cp_owners'::regrole AND m.member = r.oid);

-- name: is_member
-- Whether a role is a member of a group by a grant of its own.
SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members m
               WHERE m.roleid = to_regrole(%(group)s) AND m.member = to_regrole(%(role)s));

-- name: login_functions
-- Functions in the schema cp whose names begin so, by signature.
SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p
WHERE p.pronamespace = to_regnamespace('cp') AND starts_with(p.proname::text, %(prefix)s)
ORDER BY 1;

-- name: server_settings
-- Settings of the server that bear on isolation and are not as advised: name, present value, advised value, whether that
-- needs a restart.
SELECT s.name, s.setting, w.advised, s.context = 'postmaster'
FROM (VALUES ('password_encryption', 'scram-sha-256'), ('max_prepared_transactions', '0'), ('log_connections', 'on'),
             ('log_disconnections', 'on'), ('track_functions', 'none'), ('authentication_timeout', '15')) w (name, advised)
JOIN pg_catalog.pg_settings s ON s.name = w.name
WHERE CASE w.name
        WHEN 'authentication_timeout' THEN s.setting::int > 15
        WHEN 'log_connections' THEN s.setting IN ('off', '')  -- a list since PostgreSQL 18
        ELSE s.setting <> w.advised END
ORDER BY 1;

-- name: statements_loaded
-- Whether the server loads pg_stat_statements at its start, and whether there is a schema to make it in.
SELECT 'pg_stat_statements' = ANY (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ',')),
       to_regnamespace('extensions') IS NOT NULL;

-- name: statements_schema
-- The schema of pg_stat_statements, and whether the control plane's own logins may use it.
SELECT n.nspname::text, has_schema_privilege('cp_operator', n.oid, 'USAGE')
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements';
