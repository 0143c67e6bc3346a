-- name: database_locale
-- The current database's encoding and locale. Columns differ between majors (daticulocale before 17), hence to_jsonb.
SELECT pg_encoding_to_char(d.encoding), d.datlocprovider::text, d.datcollate, d.datctype,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), to_jsonb(d) ->> 'daticurules'
FROM pg_catalog.pg_database d WHERE d.datname = current_database()

-- name: scratch_roles
-- The login of one scratch database and the roles of the clones proven in it.
SELECT rolname FROM pg_catalog.pg_roles WHERE starts_with(rolname::text, %(prefix)s) ORDER BY rolname DESC

-- name: all_scratch
-- Everything imports have made on this cluster; databases first, since they depend on the roles.
SELECT 'database', datname::text FROM pg_catalog.pg_database WHERE starts_with(datname::text, 'cpimport_')
UNION ALL
SELECT 'role', rolname::text FROM pg_catalog.pg_roles WHERE starts_with(rolname::text, 'cpimport_')
ORDER BY 1, 2 DESC

-- name: extension_schemas
-- Where the tenants' database has its extensions.
SELECT e.extname, n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace

-- name: extensions
-- What the template brought in; plpgsql is everywhere.
SELECT e.extname, n.nspname, e.extversion, e.extrelocatable
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql' ORDER BY e.extname COLLATE "C"

-- name: extension_members
-- Names that are an extension's in a schema: text that calls them by their schema must follow when that moves.
SELECT n.nspname, i.name
FROM pg_catalog.pg_depend d
JOIN LATERAL (
    SELECT p.pronamespace AS ns, p.proname::text AS name FROM pg_catalog.pg_proc p
    WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objid
    UNION ALL
    SELECT t.typnamespace, t.typname::text FROM pg_catalog.pg_type t
    WHERE d.classid = 'pg_catalog.pg_type'::regclass AND t.oid = d.objid
    UNION ALL
    SELECT c.relnamespace, c.relname::text FROM pg_catalog.pg_class c
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
    UNION ALL
    SELECT o.oprnamespace, o.oprname::text FROM pg_catalog.pg_operator o
    WHERE d.classid = 'pg_catalog.pg_operator'::regclass AND o.oid = d.objid
    UNION ALL
    SELECT o.opcnamespace, o.opcname::text FROM pg_catalog.pg_opclass o
    WHERE d.classid = 'pg_catalog.pg_opclass'::regclass AND o.oid = d.objid
    UNION ALL
    SELECT o.dictnamespace, o.dictname::text FROM pg_catalog.pg_ts_dict o
    WHERE d.classid = 'pg_catalog.pg_ts_dict'::regclass AND o.oid = d.objid
) i ON true
JOIN pg_catalog.pg_namespace n ON n.oid = i.ns
WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'

-- name: schemas_in_use
-- Each user schema that holds objects of its own (an extension's do not count), with a few of them.
SELECT n.nspname, count(*), (array_agg(i.type || ' ' || i.identity ORDER BY i.identity))[1:3]
FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i ON true
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND d.classid NOT IN ('pg_catalog.pg_extension'::regclass, 'pg_catalog.pg_default_acl'::regclass)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid
                  AND e.refclassid = 'pg_catalog.pg_extension'::regclass AND e.deptype = 'e')
GROUP BY n.nspname ORDER BY n.nspname

-- name: user_schemas
-- Every schema that is not the system's.
SELECT nspname FROM pg_catalog.pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname

-- name: outside_objects
-- Objects of the database that belong to no schema and so cannot be cloned with one.
SELECT i.type, i.identity
FROM (
    SELECT 'pg_catalog.pg_cast'::regclass AS classid, oid FROM pg_catalog.pg_cast
    UNION ALL SELECT 'pg_catalog.pg_event_trigger'::regclass, oid FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT 'pg_catalog.pg_publication'::regclass, oid FROM pg_catalog.pg_publication
    UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT 'pg_catalog.pg_language'::regclass, oid FROM pg_catalog.pg_language
    UNION ALL SELECT 'pg_catalog.pg_transform'::regclass, oid FROM pg_catalog.pg_transform
    UNION ALL SELECT 'pg_catalog.pg_am'::regclass, oid FROM pg_catalog.pg_am
    UNION ALL SELECT 'pg_catalog.pg_largeobject'::regclass, oid FROM pg_catalog.pg_largeobject_metadata
) o
JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.oid, 0) i ON true
WHERE (o.oid >= 16384 OR o.classid = 'pg_catalog.pg_largeobject'::regclass)  -- whose numbers are free to choose
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = o.classid AND e.objid = o.oid
                  AND e.deptype IN ('e', 'i'))  -- an extension's, or made along with a range type
ORDER BY 1, 2

-- name: forbidden_objects
-- What statements cannot always show (DO blocks make things too), with the reason it is refused for.
SELECT i.type || ' ' || i.identity, o.reason
FROM (
    SELECT 'pg_catalog.pg_proc'::regclass AS classid, p.oid, 'definer' AS reason FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = %(schema)s::regnamespace AND p.prosecdef
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::regclass, p.oid, 'policy' FROM pg_catalog.pg_policy p
    JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
    WHERE c.relnamespace = %(schema)s::regnamespace AND (p.polroles <> '{0}' OR p.polname IN ('tenant_rw', 'tenant_ro', 'tenant_owner'))
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, c.oid, 'foreign' FROM pg_catalog.pg_class c
    WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind = 'f'
) o
JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.oid, 0) i ON true
ORDER BY 1

-- name: tables
-- The tables and partitions of a schema, with what decides how row-level security is put on them.
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
       EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid)
FROM pg_catalog.pg_class c
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY c.oid

-- name: object_names
-- Names that text may use behind the schema's own name, and whether they are relations (which can be aliases too).
SELECT relname::text, true FROM pg_catalog.pg_class WHERE relnamespace = %(schema)s::regnamespace
UNION ALL
SELECT proname::text, false FROM pg_catalog.pg_proc WHERE pronamespace = %(schema)s::regnamespace
UNION ALL
SELECT typname::text, false FROM pg_catalog.pg_type WHERE typnamespace = %(schema)s::regnamespace

-- name: closed_routines
-- Routines whose EXECUTE the template took from PUBLIC, by signature.
SELECT p.oid::regprocedure::text
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = %(schema)s::regnamespace AND p.proacl IS NOT NULL
  AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
ORDER BY p.oid

-- name: matviews
-- Materialized views that hold data.
SELECT c.relname FROM pg_catalog.pg_class c
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind = 'm' AND c.relispopulated

-- name: timeseries_columns
-- How a declared table is partitioned and which columns its key has: NULL strategy when it is not partitioned.
SELECT p.partstrat::text, p.partnatts, a.attname, a.atttypid::regtype::text, c.relrowsecurity,
       ARRAY(SELECT k.relname::text FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
             WHERE i.inhparent = c.oid)
FROM pg_catalog.pg_class c
LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = %(table)s AND c.relkind IN ('r', 'p')

-- name: size
-- Objects of a schema by kind, for people and for capacity planning.
SELECT jsonb_build_object(
    'tables', count(*) FILTER (WHERE relkind IN ('r', 'p') AND NOT relispartition),
    'partitions', count(*) FILTER (WHERE relkind IN ('r', 'p') AND relispartition),
    'views', count(*) FILTER (WHERE relkind = 'v'),
    'materialized_views', count(*) FILTER (WHERE relkind = 'm'),
    'sequences', count(*) FILTER (WHERE relkind = 'S'),
    'indexes', count(*) FILTER (WHERE relkind IN ('i', 'I')),
    'columns', (SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class r ON r.oid = a.attrelid
                WHERE r.relnamespace = %(schema)s::regnamespace AND r.relkind IN ('r', 'p') AND a.attnum > 0
                  AND NOT a.attisdropped),
    'constraints', (SELECT count(*) FROM pg_catalog.pg_constraint WHERE connamespace = %(schema)s::regnamespace),
    'triggers', (SELECT count(*) FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class r ON r.oid = t.tgrelid
                 WHERE r.relnamespace = %(schema)s::regnamespace AND NOT t.tgisinternal),
    'policies', (SELECT count(*) FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class r ON r.oid = p.polrelid
                 WHERE r.relnamespace = %(schema)s::regnamespace),
    'functions', (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace = %(schema)s::regnamespace),
    'types', (SELECT count(*) FROM pg_catalog.pg_type t WHERE typnamespace = %(schema)s::regnamespace
              AND typtype IN ('e', 'd', 'c', 'r') AND (typtype <> 'c' OR EXISTS (
                  SELECT FROM pg_catalog.pg_class r WHERE r.oid = t.typrelid AND r.relkind = 'c'))))
FROM pg_catalog.pg_class WHERE relnamespace = %(schema)s::regnamespace

-- name: live_schema
-- Whether a schema exists, and whom to read it as: the one owner of all its relations, where we are not that role (or a
-- superuser) ourselves but may act as it.
SELECT (SELECT min(owner) FROM (SELECT DISTINCT pg_get_userbyid(c.relowner)::text AS owner FROM pg_catalog.pg_class c
                                WHERE c.relnamespace = n.oid) o
        HAVING count(*) = 1 AND min(owner) <> current_user AND pg_has_role(min(owner), 'MEMBER')
           AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))
FROM pg_catalog.pg_namespace n WHERE n.nspname = %(schema)s

-- name: catalog_rows
-- Everything that makes a schema what it is, as (schema, kind, name, definition), its own and its roles' names as `~`.
-- Run it with an empty search_path. Objects are enumerated through pg_depend's index on (refclassid, refobjid), and
-- catalogs are read by arrays of OIDs, so the cost does not grow with the number of other schemas. `= ANY (ARRAY(…))`
-- is deliberate: the planner takes the index for it, where for a join it may read a whole catalog. What they give is
-- joined by hashing (nested loops are off): estimates are far too low here, and loops would be quadratic in schemas.
WITH ns AS MATERIALIZED (
    SELECT n.oid, n.nspname::text AS name, n.nspowner, n.nspacl
    FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY (%(schemas)s::name[])
), member AS MATERIALIZED (
    SELECT d.classid, d.objid, n.name AS ns FROM pg_catalog.pg_depend d JOIN ns n ON n.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = ANY (ARRAY(SELECT oid FROM ns))
), typ AS MATERIALIZED (
    SELECT t.*, n.name AS ns FROM pg_catalog.pg_type t JOIN ns n ON n.oid = t.typnamespace
    WHERE t.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_type'::regclass))
), every_rel AS MATERIALIZED (
    SELECT c.*, n.name AS ns FROM pg_catalog.pg_class c JOIN ns n ON n.oid = c.relnamespace
    WHERE c.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_class'::regclass
                             UNION ALL SELECT typrelid FROM typ WHERE typrelid <> 0))
), every_pol AS MATERIALIZED (
    SELECT p.* FROM pg_catalog.pg_policy p
    WHERE p.polrelid = ANY (ARRAY(SELECT oid FROM every_rel WHERE relkind IN ('r', 'p')))
), passing AS MATERIALIZED (
    -- The partitions of declared time-series tables: the declaration is a comment on the parent's policy.
    SELECT i.inhrelid AS oid FROM pg_catalog.pg_inherits i
    WHERE i.inhparent = ANY (ARRAY(
        SELECT p.polrelid FROM every_pol p
        JOIN pg_catalog.pg_description d ON d.objoid = p.oid
        WHERE d.objoid = ANY (ARRAY(SELECT oid FROM every_pol WHERE polname IN ('tenant_rw', 'tenant_owner')))
          AND d.classoid = 'pg_catalog.pg_policy'::regclass AND pg_catalog.starts_with(d.description, %(mark)s)))
), rel AS MATERIALIZED (
    SELECT * FROM every_rel r WHERE NOT EXISTS (SELECT FROM passing WHERE passing.oid = r.oid)
), idx AS MATERIALIZED (
    SELECT i.*, r.ns FROM pg_catalog.pg_index i JOIN rel r ON r.oid = i.indrelid
    WHERE i.indrelid = ANY (ARRAY(SELECT oid FROM rel WHERE relhasindex))
), con AS MATERIALIZED (
    SELECT c.oid, c.conname, c.convalidated, c.conislocal, c.coninhcount,
           c.contype, c.connoinherit, c.conkey, c.conindid, r.ns, r.relname AS owner
    FROM pg_catalog.pg_constraint c JOIN rel r ON r.oid = c.conrelid
    WHERE c.conrelid = ANY (ARRAY(SELECT oid FROM rel WHERE relkind IN ('r', 'p')))
      -- A foreign key to a partitioned table has one more row for each of its partitions.
      AND (c.conparentid = 0 OR c.contype <> 'f' OR c.conrelid <> (
          SELECT p.conrelid FROM pg_catalog.pg_constraint p WHERE p.oid = c.conparentid))
    UNION ALL
    SELECT c.oid, c.conname, c.convalidated, c.conislocal, c.coninhcount,
           c.contype, c.connoinherit, c.conkey, c.conindid, t.ns, t.typname
    FROM pg_catalog.pg_constraint c JOIN typ t ON t.oid = c.contypid
    WHERE c.conrelid = 0 AND c.contypid = ANY (ARRAY(SELECT oid FROM typ WHERE typtype = 'd'))
), trg AS MATERIALIZED (
    SELECT t.oid, t.tgname, t.tgenabled, t.tgisinternal, t.tgconstraint, r.ns, r.relname
    FROM pg_catalog.pg_trigger t JOIN rel r ON r.oid = t.tgrelid
    WHERE t.tgrelid = ANY (ARRAY(SELECT oid FROM rel WHERE relhastriggers))
), pol AS MATERIALIZED (
    SELECT p.*, r.ns, r.relname FROM every_pol p JOIN rel r ON r.oid = p.polrelid
), rul AS MATERIALIZED (
    SELECT w.oid, w.rulename, w.ev_enabled, r.ns, r.relname
    FROM pg_catalog.pg_rewrite w JOIN rel r ON r.oid = w.ev_class
    WHERE w.ev_class = ANY (ARRAY(SELECT oid FROM rel WHERE relhasrules)) AND w.rulename <> '_RETURN'
), commented AS MATERIALIZED (
    SELECT classid, objid, ns FROM member m
    WHERE m.classid <> 'pg_catalog.pg_class'::regclass OR NOT EXISTS (SELECT FROM passing WHERE passing.oid = m.objid)
    UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, name FROM ns
    UNION ALL SELECT 'pg_catalog.pg_class'::regclass, oid, ns FROM rel WHERE relkind = 'c'
    UNION ALL SELECT 'pg_catalog.pg_class'::regclass, indexrelid, ns FROM idx
    UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, oid, ns FROM con
    UNION ALL SELECT 'pg_catalog.pg_trigger'::regclass, oid, ns FROM trg WHERE NOT tgisinternal
    UNION ALL SELECT 'pg_catalog.pg_policy'::regclass, oid, ns FROM pol
    UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass, oid, ns FROM rul
), fact (ns, kind, name, definition) AS (
    SELECT n.name, 'schema', '', concat_ws(' | ', pg_get_userbyid(n.nspowner),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
         FROM unnest(coalesce(n.nspacl, acldefault('n', n.nspowner))) a))
    FROM ns n
    UNION ALL
    SELECT n.name, 'default privileges', concat_ws(' ', d.defaclobjtype, CASE WHEN d.defaclnamespace = 0 THEN 'everywhere' END),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(d.defaclacl) a)
    FROM pg_catalog.pg_default_acl d JOIN ns n ON n.nspowner = d.defaclrole
    WHERE d.defaclrole = ANY (ARRAY(SELECT nspowner FROM ns)) AND d.defaclnamespace IN (0, n.oid)
    UNION ALL
    SELECT r.ns, 'relation', r.relname, concat_ws(' | ', r.relkind, r.relpersistence,
        CASE r.relreplident WHEN 'd' THEN NULL ELSE 'identity ' || r.relreplident::text END,
        CASE WHEN r.relrowsecurity THEN 'rls' END, CASE WHEN r.relforcerowsecurity THEN 'forced' END,
        (SELECT 'using ' || amname FROM pg_catalog.pg_am WHERE oid = r.relam),
        (SELECT 'in ' || spcname FROM pg_catalog.pg_tablespace WHERE oid = r.reltablespace),
        CASE WHEN r.reloptions IS NOT NULL THEN
            (SELECT 'with ' || string_agg(o, ', ' ORDER BY o COLLATE "C") FROM unnest(r.reloptions) o) END,
        CASE WHEN r.reloftype <> 0 THEN 'of ' || r.reloftype::regtype END,
        CASE WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) END,
        CASE WHEN r.relispartition THEN pg_get_expr(r.relpartbound, r.oid) END,
        pg_get_userbyid(r.relowner),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(
            coalesce(r.relacl, acldefault(CASE r.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, r.relowner))) a))
    FROM rel r
    UNION ALL
    SELECT r.ns, 'toast options', r.relname, array_to_string(t.reloptions, ', ')
    FROM pg_catalog.pg_class t JOIN rel r ON r.reltoastrelid = t.oid
    WHERE t.oid = ANY (ARRAY(SELECT reltoastrelid FROM rel WHERE reltoastrelid <> 0)) AND t.reloptions IS NOT NULL
    UNION ALL
    SELECT r.ns, 'view', r.relname, pg_get_viewdef(r.oid) FROM rel r WHERE r.relkind IN ('v', 'm')
    UNION ALL
    SELECT r.ns, 'parent', r.relname, concat_ws(' ', i.inhparent::regclass, i.inhseqno, i.inhdetachpending)
    FROM pg_catalog.pg_inherits i JOIN rel r ON r.oid = i.inhrelid
    WHERE i.inhrelid = ANY (ARRAY(SELECT oid FROM rel WHERE relkind IN ('r', 'p')))
    UNION ALL
    SELECT r.ns, 'column', r.relname || '.' || a.attname, concat_ws(' | ', a.attnum,
        format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
        CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation END,
        CASE WHEN a.atthasdef THEN (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
                                    WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
        'i' || nullif(a.attidentity::text, ''), 'g' || nullif(a.attgenerated::text, ''), a.attstorage,
        'c' || nullif(a.attcompression::text, ''), CASE WHEN a.attstattarget >= 0 THEN 'statistics ' || a.attstattarget END,
        CASE WHEN NOT a.attislocal THEN 'inherited' END,
        -- The servers of late 2026 number each column's version there, for themselves.
        CASE WHEN a.attoptions IS NOT NULL THEN
            (SELECT string_agg(o, ', ' ORDER BY o COLLATE "C") FROM unnest(a.attoptions) o
             WHERE NOT pg_catalog.starts_with(o, 'pg_attver=')) END,
        CASE WHEN a.attacl IS NOT NULL THEN
            (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(a.attacl) x) END)
    FROM pg_catalog.pg_attribute a JOIN rel r ON r.oid = a.attrelid
    WHERE a.attrelid = ANY (ARRAY(SELECT oid FROM rel WHERE relkind <> 'S')) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT i.ns, 'index column', i.indexrelid::regclass || '.' || a.attnum, 'statistics ' || a.attstattarget
    FROM pg_catalog.pg_attribute a JOIN idx i ON i.indexrelid = a.attrelid
    WHERE a.attrelid = ANY (ARRAY(SELECT indexrelid FROM idx WHERE indexprs IS NOT NULL)) AND a.attstattarget >= 0
    UNION ALL
    SELECT c.ns, 'constraint', c.owner || '.' || c.conname, concat_ws(' | ',
        -- PostgreSQL 18 has one for every NOT NULL: told without the detour through its definition's text.
        CASE WHEN c.contype = 'n' THEN concat_ws(' ', 'not null', c.conkey, CASE WHEN c.connoinherit THEN 'only' END)
             ELSE pg_get_constraintdef(c.oid) END,
        CASE WHEN NOT c.convalidated THEN 'not valid' END, CASE WHEN NOT c.conislocal THEN 'inherited' END,
        nullif(c.coninhcount, 0))
    FROM con c
    UNION ALL
    SELECT i.ns, 'index', i.indexrelid::regclass::text, concat_ws(' | ',
        -- A constraint's definition says all of its index.
        CASE WHEN k.conindid IS NOT NULL THEN 'of a constraint' ELSE pg_get_indexdef(i.indexrelid) END,
        CASE WHEN NOT i.indisvalid THEN 'invalid' END, CASE WHEN NOT i.indisready THEN 'not ready' END,
        CASE WHEN i.indisclustered THEN 'clustered' END, CASE WHEN i.indisreplident THEN 'identity' END,
        CASE WHEN i.indisprimary THEN 'primary' END, CASE WHEN NOT i.indimmediate THEN 'deferrable' END,
        (SELECT 'in ' || s.spcname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
         WHERE c.oid = i.indexrelid))
    FROM idx i LEFT JOIN (SELECT conindid FROM con WHERE contype IN ('p', 'u', 'x')) k ON k.conindid = i.indexrelid
    UNION ALL
    SELECT t.ns, 'trigger', t.relname || '.' || t.tgname, concat_ws(' | ', t.tgenabled, pg_get_triggerdef(t.oid))
    FROM trg t WHERE NOT t.tgisinternal
    UNION ALL
    -- Those behind foreign keys are named by number: only a disabled one is worth a row.
    SELECT t.ns, 'foreign key trigger', t.relname, concat_ws(' | ', t.tgenabled,
        (SELECT conname FROM pg_catalog.pg_constraint WHERE oid = t.tgconstraint))
    FROM trg t WHERE t.tgisinternal AND t.tgenabled <> 'O'
    UNION ALL
    SELECT p.ns, 'policy', p.relname || '.' || p.polname, concat_ws(' | ', p.polcmd,
        CASE WHEN NOT p.polpermissive THEN 'restrictive' END,
        (SELECT string_agg(CASE x WHEN 0 THEN 'public' ELSE pg_get_userbyid(x) END, ', '
                           ORDER BY pg_get_userbyid(x) COLLATE "C") FROM unnest(p.polroles) x),
        'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
    FROM pol p
    UNION ALL
    SELECT w.ns, 'rule', w.relname || '.' || w.rulename, concat_ws(' | ', w.ev_enabled, pg_get_ruledef(w.oid)) FROM rul w
    UNION ALL
    SELECT n.name, 'routine', p.oid::regprocedure::text, concat_ws(' | ',
        CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE (
            SELECT concat_ws(' ', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), a.aggkind,
                a.aggnumdirectargs, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn, a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify,
                a.aggmfinalmodify, a.aggsortop::regoperator, a.aggtranstype::regtype, a.aggtransspace,
                a.aggmtranstype::regtype, a.aggmtransspace, quote_nullable(a.agginitval), quote_nullable(a.aggminitval),
                p.proparallel)
            FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid = p.oid) END,
        pg_get_userbyid(p.proowner),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
         FROM unnest(coalesce(p.proacl, acldefault('f', p.proowner))) a))
    FROM pg_catalog.pg_proc p JOIN ns n ON n.oid = p.pronamespace
    WHERE p.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_proc'::regclass))
    UNION ALL
    SELECT t.ns, 'type', t.typname, concat_ws(' | ', t.typtype,
        CASE WHEN t.typtype = 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                                        FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) END,
        CASE WHEN t.typtype = 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod),
            CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault,
            CASE WHEN t.typcollation <> 0 THEN t.typcollation::regcollation END) END,
        CASE WHEN t.typtype = 'r' THEN (
            SELECT concat_ws(' ', format_type(g.rngsubtype, NULL), g.rngmultitypid::regtype,
                CASE WHEN g.rngcollation <> 0 THEN g.rngcollation::regcollation END,
                (SELECT opcname FROM pg_catalog.pg_opclass WHERE oid = g.rngsubopc),
                g.rngcanonical, g.rngsubdiff)
            FROM pg_catalog.pg_range g WHERE g.rngtypid = t.oid) END,
        pg_get_userbyid(t.typowner),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
         FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) a))
    FROM typ t
    UNION ALL
    SELECT r.ns, 'sequence', r.relname, concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement,
        s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
        (SELECT concat_ws(' ', d.deptype, d.refobjid::regclass,
                          (SELECT a.attname FROM pg_catalog.pg_attribute a
                           WHERE a.attrelid = d.refobjid AND a.attnum = d.refobjsubid))
         FROM pg_catalog.pg_depend d
         WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = r.oid AND d.objsubid = 0
           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')))
    FROM pg_catalog.pg_sequence s JOIN rel r ON r.oid = s.seqrelid
    WHERE s.seqrelid = ANY (ARRAY(SELECT oid FROM rel WHERE relkind = 'S'))
    UNION ALL
    SELECT n.name, 'statistics', s.stxname, concat_ws(' | ', pg_get_statisticsobjdef(s.oid),
        CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget END, pg_get_userbyid(s.stxowner))
    FROM pg_catalog.pg_statistic_ext s JOIN ns n ON n.oid = s.stxnamespace
    WHERE s.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_statistic_ext'::regclass))
      AND NOT EXISTS (SELECT FROM passing WHERE passing.oid = s.stxrelid)
    UNION ALL
    SELECT n.name, 'operator', o.oid::regoperator::text, concat_ws(' ', o.oprkind, o.oprresult::regtype, o.oprcode,
        o.oprcom::regoperator, o.oprnegate::regoperator, o.oprrest, o.oprjoin, o.oprcanmerge, o.oprcanhash,
        pg_get_userbyid(o.oprowner))
    FROM pg_catalog.pg_operator o JOIN ns n ON n.oid = o.oprnamespace
    WHERE o.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_operator'::regclass))
    UNION ALL
    SELECT n.name, 'collation', o.collname, concat_ws(' ', o.collprovider, o.collisdeterministic, o.collencoding,
        o.collcollate, o.collctype, to_jsonb(o) ->> 'colllocale', to_jsonb(o) ->> 'colliculocale',
        to_jsonb(o) ->> 'collicurules', pg_get_userbyid(o.collowner))
    FROM pg_catalog.pg_collation o JOIN ns n ON n.oid = o.collnamespace
    WHERE o.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_collation'::regclass))
    UNION ALL
    SELECT n.name, 'conversion', o.conname, concat_ws(' ', o.conforencoding, o.contoencoding, o.conproc, o.condefault,
        pg_get_userbyid(o.conowner))
    FROM pg_catalog.pg_conversion o JOIN ns n ON n.oid = o.connamespace
    WHERE o.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_conversion'::regclass))
    UNION ALL
    SELECT n.name, 'text search dictionary', o.dictname, concat_ws(' ', o.dictinitoption, pg_get_userbyid(o.dictowner),
        (SELECT tmplname FROM pg_catalog.pg_ts_template WHERE oid = o.dicttemplate))
    FROM pg_catalog.pg_ts_dict o JOIN ns n ON n.oid = o.dictnamespace
    WHERE o.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_ts_dict'::regclass))
    UNION ALL
    SELECT n.name, 'text search configuration', o.cfgname, concat_ws(' ', pg_get_userbyid(o.cfgowner),
        (SELECT prsname FROM pg_catalog.pg_ts_parser WHERE oid = o.cfgparser),
        (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict::regdictionary), ', '
                           ORDER BY m.maptokentype, m.mapseqno)
         FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = o.oid))
    FROM pg_catalog.pg_ts_config o JOIN ns n ON n.oid = o.cfgnamespace
    WHERE o.oid = ANY (ARRAY(SELECT objid FROM member WHERE classid = 'pg_catalog.pg_ts_config'::regclass))
    UNION ALL
    -- Kinds that only a superuser can make: their presence is enough to notice.
    SELECT m.ns, 'other', i.type, i.identity
    FROM member m JOIN LATERAL pg_catalog.pg_identify_object(m.classid, m.objid, 0) i ON true
    WHERE m.classid IN ('pg_catalog.pg_opclass'::regclass, 'pg_catalog.pg_opfamily'::regclass,
                        'pg_catalog.pg_ts_parser'::regclass, 'pg_catalog.pg_ts_template'::regclass)
    UNION ALL
    SELECT m.ns, 'comment', i.type || ' ' || i.identity, d.description
    FROM pg_catalog.pg_description d JOIN commented m ON m.classid = d.classoid AND m.objid = d.objoid
    JOIN LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) i ON true
    WHERE d.objoid = ANY (ARRAY(SELECT objid FROM commented))
)
SELECT f.ns, f.kind, replace(f.name, f.ns, '~') AS name, replace(coalesce(f.definition, ''), f.ns, '~') AS definition
FROM fact f

-- name: fingerprints
-- Each schema's catalog rows in a fixed order under one hash.
SELECT r.ns, encode(sha256(convert_to(string_agg(r.kind || E'\x1f' || r.name || E'\x1f' || r.definition, E'\x1e'
        ORDER BY r.kind COLLATE "C", r.name COLLATE "C", r.definition COLLATE "C"), 'UTF8')), 'hex')
FROM (/* catalog_rows */) r
GROUP BY r.ns
