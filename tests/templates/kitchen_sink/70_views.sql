-- Views, materialized views, rules, and objects that depend on each other in circles.

CREATE VIEW kitchen_sink.simple AS SELECT id, feeling, short AS "kürzer", 'kitchen_sink' AS schema_name FROM kitchen_sink.typed;
CREATE VIEW kitchen_sink."View ""mit"" %s" ("erste Spalte", second) AS SELECT "имя", "cost$$" FROM kitchen_sink."Größe";
CREATE VIEW kitchen_sink.invoker WITH (security_invoker = true, security_barrier = true) AS
    SELECT g.*, g AS whole_row FROM kitchen_sink.guarded AS g;
CREATE VIEW kitchen_sink.checked WITH (security_barrier = true) AS
    SELECT id, few FROM kitchen_sink.typed WHERE few > 10 WITH LOCAL CHECK OPTION;
CREATE VIEW kitchen_sink.checked_more AS SELECT id FROM kitchen_sink.checked WHERE id > 0 WITH CASCADED CHECK OPTION;
ALTER VIEW kitchen_sink.checked ALTER COLUMN few SET DEFAULT 11;
CREATE RECURSIVE VIEW kitchen_sink.countdown (n) AS VALUES (5) UNION ALL SELECT n - 1 FROM countdown WHERE n > 0;
CREATE VIEW kitchen_sink.elaborate AS
WITH s AS MATERIALIZED (SELECT * FROM kitchen_sink.as_table(3) WITH ORDINALITY AS f (i, w, nr))
SELECT s.i, s.w, row_number() OVER win AS nr,
    kitchen_sink.total(s.i) OVER (win ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS moving,
    1.001 OPERATOR(kitchen_sink.~~~) 1.0 AS near, OPERATOR(kitchen_sink.@#@) 3.0 AS half,
    kitchen_sink.overloaded(1, 2) AS sum, kitchen_sink.overloaded('a'::text, 'b') AS text, l.*
FROM s
LEFT JOIN LATERAL (SELECT kitchen_sink.share(0.5) WITHIN GROUP (ORDER BY x) FROM generate_series(1, s.i) AS x) AS l (middle) ON true
WINDOW win AS (PARTITION BY s.w ORDER BY s.i DESC);
CREATE VIEW kitchen_sink.catalogue AS
    SELECT c.oid::regclass AS name, 'kitchen_sink.plain'::regclass AS a_class, 'kitchen_sink.mood'::regtype AS a_type
    FROM pg_catalog.pg_class c WHERE c.relnamespace = 'kitchen_sink'::regnamespace;
COMMENT ON VIEW kitchen_sink.simple IS 'Simple';
COMMENT ON COLUMN kitchen_sink.simple."kürzer" IS 'A column of a view';

-- The primary key stands for the other columns, so the view can only be made after the key.
CREATE VIEW kitchen_sink.needs_key AS
    SELECT h.id, h.egg, count(*) AS eggs FROM kitchen_sink.hen h JOIN kitchen_sink.egg e ON e.hen = h.id GROUP BY h.id;
CREATE FUNCTION kitchen_sink.needs_key_too() RETURNS SETOF bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT count(e.*) + h.egg FROM kitchen_sink.hen h LEFT JOIN kitchen_sink.egg e ON e.hen = h.id GROUP BY h.id;
END;

-- A view whose row type is the argument of a function that the view itself calls.
CREATE VIEW kitchen_sink.loop AS SELECT 1 AS a, 'x'::text AS b;
CREATE FUNCTION kitchen_sink.loop_length(row_of kitchen_sink.loop) RETURNS integer
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT length((row_of).b) + (SELECT count(*)::integer FROM kitchen_sink.base_1);
END;
CREATE OR REPLACE VIEW kitchen_sink.loop AS
    SELECT 1 AS a, 'x'::text AS b, kitchen_sink.loop_length(NULL) AS c;
CREATE FUNCTION kitchen_sink.rows_of_view() RETURNS SETOF kitchen_sink.simple
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM kitchen_sink.simple;
END;
CREATE FUNCTION kitchen_sink.rows_of_table(kitchen_sink.parent) RETURNS kitchen_sink.child[]
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT array_agg(k ORDER BY k.id) FROM kitchen_sink.child k WHERE k.a = ($1).a;
END;
CREATE FUNCTION kitchen_sink.writes(value integer) RETURNS integer
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO kitchen_sink.base_1 (id, shared) VALUES (value, DEFAULT) RETURNING id;
    UPDATE kitchen_sink.base_1 AS t SET shared = 'kitchen_sink' WHERE t.id = value;
    DELETE FROM ONLY kitchen_sink.base_1 WHERE id = -value RETURNING id;
END;

CREATE MATERIALIZED VIEW kitchen_sink.filled AS
    SELECT p.a, p.b, p.c, kitchen_sink.half(p.c) AS half FROM kitchen_sink.parent p WITH DATA;
CREATE MATERIALIZED VIEW kitchen_sink.over_filled (x, "Summe") WITH (fillfactor = 80, autovacuum_enabled = false) AS
    SELECT a, sum(half) FROM kitchen_sink.filled GROUP BY a;
CREATE MATERIALIZED VIEW kitchen_sink.empty AS SELECT n FROM kitchen_sink.countdown WITH NO DATA;
CREATE MATERIALIZED VIEW kitchen_sink.over_empty AS SELECT n + 1 AS n FROM kitchen_sink.empty WITH NO DATA;
CREATE MATERIALIZED VIEW kitchen_sink.over_needs_key AS SELECT id, eggs FROM kitchen_sink.needs_key;
CREATE VIEW kitchen_sink.over_materialized AS SELECT * FROM kitchen_sink.over_filled;
CREATE UNIQUE INDEX filled_key ON kitchen_sink.filled (a, b);
CREATE INDEX over_filled_idx ON kitchen_sink.over_filled ("Summe" DESC) WHERE x > 0;
CREATE INDEX empty_idx ON kitchen_sink.empty (n);
ALTER MATERIALIZED VIEW kitchen_sink.filled CLUSTER ON filled_key;
ALTER MATERIALIZED VIEW kitchen_sink.filled ALTER COLUMN c SET STATISTICS 50;
COMMENT ON MATERIALIZED VIEW kitchen_sink.filled IS 'Filled';
COMMENT ON COLUMN kitchen_sink.filled.half IS 'Half of c';

-- Rules.
CREATE TABLE kitchen_sink.rule_log (what text, id integer);
CREATE RULE "also log" AS ON UPDATE TO kitchen_sink.base_1 WHERE new.id IS DISTINCT FROM old.id
    DO ALSO INSERT INTO kitchen_sink.rule_log (what, id) VALUES ('kitchen_sink', old.id);
CREATE RULE no_delete AS ON DELETE TO kitchen_sink.base_2 DO INSTEAD NOTHING;
CREATE RULE through AS ON INSERT TO kitchen_sink.simple
    DO INSTEAD INSERT INTO kitchen_sink.rule_log (what, id) VALUES (new."kürzer", new.id)
    RETURNING rule_log.id, 'ok'::kitchen_sink.mood, rule_log.what::kitchen_sink.short_text, ''::text;
CREATE RULE several AS ON DELETE TO kitchen_sink.simple DO INSTEAD (
    INSERT INTO kitchen_sink.rule_log (what, id) VALUES ('a;b', old.id);
    NOTIFY kitchen_sink, 'deleted';
);
ALTER TABLE kitchen_sink.base_1 DISABLE RULE "also log";
ALTER TABLE kitchen_sink.base_2 ENABLE REPLICA RULE no_delete;
COMMENT ON RULE through ON kitchen_sink.simple IS 'Goes elsewhere';
