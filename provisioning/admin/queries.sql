-- name: tenant_facts
-- What an act on a tenant would meet now: tables of its schema, and open sessions of its logins.
SELECT (SELECT count(*)
        FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
          AND d.refobjid = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition),
       (SELECT count(*) FROM pg_stat_activity WHERE usename = ANY(%(logins)s));
