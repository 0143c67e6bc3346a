-- Indexes, extended statistics, clustering and replica identity.

CREATE UNIQUE INDEX nulls_are_equal ON kitchen_sink.typed (few, odd) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX covering ON kitchen_sink.typed (id) INCLUDE (feeling, short) WITH (fillfactor = 60);
CREATE INDEX partial ON kitchen_sink.typed (feeling) WHERE feeling > 'sad'::kitchen_sink.mood AND short <> 'kitchen_sink';
CREATE INDEX expression ON kitchen_sink.typed (lower(body), (kitchen_sink.slugify(body)), ((place).x), id);
CREATE INDEX directions ON kitchen_sink.typed (id DESC NULLS LAST, few ASC NULLS FIRST, odd DESC);
CREATE INDEX opclass ON kitchen_sink.typed (body text_pattern_ops, short varchar_pattern_ops);
CREATE INDEX collated ON kitchen_sink.typed (body COLLATE kitchen_sink.bytewise, body COLLATE "C");
CREATE INDEX no_deduplication ON kitchen_sink.typed (odd) WITH (deduplicate_items = off);
CREATE INDEX hashed ON kitchen_sink.typed USING hash (body) WITH (fillfactor = 90);
CREATE INDEX gin_index ON kitchen_sink.typed USING gin (document, moods) WITH (fastupdate = off, gin_pending_list_limit = 128);
CREATE INDEX gist_index ON kitchen_sink.typed USING gist (hours, document tsvector_ops (siglen = 64)) WITH (buffering = on);
CREATE INDEX gist_covering ON kitchen_sink.typed USING gist (hours) INCLUDE (id);
CREATE INDEX spgist_index ON kitchen_sink.builtin_types USING spgist (ae kd_point_ops);
CREATE INDEX brin_index ON kitchen_sink.builtin_types USING brin (q, b int8_minmax_multi_ops (values_per_range = 16), i bpchar_bloom_ops)
    WITH (pages_per_range = 4, autosummarize = true);
CREATE INDEX jsonb_index ON kitchen_sink.builtin_types USING gin (z jsonb_path_ops);
CREATE INDEX "index ""with"" ünïcode" ON kitchen_sink."Größe" ("имя", "cost$$", "new
line", "%s {0} :name");
CREATE INDEX on_generated ON kitchen_sink.kitchen_sink (slug);
CREATE INDEX ON kitchen_sink." leading and trailing " (" ", ".");
ALTER INDEX kitchen_sink.expression ALTER COLUMN 2 SET STATISTICS 321;
COMMENT ON INDEX kitchen_sink.expression IS 'It''s an expression';
COMMENT ON INDEX kitchen_sink.parent_pk IS 'The index of a constraint';

ALTER TABLE kitchen_sink.typed CLUSTER ON directions;
ALTER TABLE kitchen_sink.parent CLUSTER ON parent_pk;

ALTER TABLE kitchen_sink.typed REPLICA IDENTITY USING INDEX covering;
ALTER TABLE kitchen_sink."Größe" REPLICA IDENTITY FULL;
ALTER TABLE kitchen_sink.child REPLICA IDENTITY NOTHING;
ALTER TABLE kitchen_sink.parent REPLICA IDENTITY FULL;
ALTER TABLE kitchen_sink.by_range_2020 REPLICA IDENTITY USING INDEX by_range_2020_pkey;

CREATE STATISTICS kitchen_sink.all_kinds ON feeling, few, odd FROM kitchen_sink.typed;
CREATE STATISTICS kitchen_sink."nur Paare" (ndistinct) ON feeling, few FROM kitchen_sink.typed;
CREATE STATISTICS kitchen_sink.two_kinds (dependencies, mcv) ON a, b, c FROM kitchen_sink.parent;
CREATE STATISTICS kitchen_sink.on_expressions (mcv) ON lower(body), (id % 10), feeling FROM kitchen_sink.typed;
CREATE STATISTICS kitchen_sink.on_one_expression ON (kitchen_sink.slugify(body)) FROM kitchen_sink.typed;
CREATE STATISTICS kitchen_sink.on_partitioned ON id, kind FROM kitchen_sink.by_range;
ALTER STATISTICS kitchen_sink.two_kinds SET STATISTICS 500;
COMMENT ON STATISTICS kitchen_sink.two_kinds IS 'For the planner of kitchen_sink';
