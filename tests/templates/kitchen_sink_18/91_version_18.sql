-- What PostgreSQL 16 to 18 added. Loaded after kitchen_sink/.

-- 18: virtual generated columns, of which one is made of another table's defaults and one is in a partition.
CREATE TABLE kitchen_sink.virtual_columns (
    id integer CONSTRAINT id_given NOT NULL,
    net numeric(10, 2),
    rate numeric DEFAULT 0.19,
    gross numeric GENERATED ALWAYS AS (net * (1 + rate)) VIRTUAL,
    "größer" boolean GENERATED ALWAYS AS (net > 100),
    kept numeric GENERATED ALWAYS AS (net * 2) STORED,
    CONSTRAINT gross_positive CHECK (gross > 0)
);
INSERT INTO kitchen_sink.virtual_columns (id, net) VALUES (1, 10), (2, 1000), (3, NULL);
CREATE VIEW kitchen_sink.over_virtual AS SELECT id, gross, "größer" FROM kitchen_sink.virtual_columns WHERE gross > 0;

-- 18: NOT NULL is a constraint with a name, validity, inheritance and comment.
CREATE TABLE kitchen_sink.not_nulls (
    named integer CONSTRAINT "muss da sein" NOT NULL,
    not_inherited integer NOT NULL NO INHERIT,
    later integer,
    plain integer NOT NULL
);
INSERT INTO kitchen_sink.not_nulls VALUES (1, 1, NULL, 1);
ALTER TABLE kitchen_sink.not_nulls ADD CONSTRAINT not_yet NOT NULL later NOT VALID;
CREATE TABLE kitchen_sink.not_nulls_heir (own text) INHERITS (kitchen_sink.not_nulls);
ALTER TABLE kitchen_sink.not_nulls_heir ADD CONSTRAINT heir_only NOT NULL own;
COMMENT ON CONSTRAINT "muss da sein" ON kitchen_sink.not_nulls IS 'Named';
CREATE DOMAIN kitchen_sink.required AS text CONSTRAINT given NOT NULL;

-- 18: constraints that nobody enforces; rows break them.
CREATE TABLE kitchen_sink.not_enforced (
    id integer PRIMARY KEY,
    a integer CONSTRAINT wish CHECK (a > 0) NOT ENFORCED,
    parent integer,
    CONSTRAINT wished_parent FOREIGN KEY (parent) REFERENCES kitchen_sink.kitchen_sink NOT ENFORCED
);
INSERT INTO kitchen_sink.not_enforced VALUES (1, -1, 12345);

-- 18: temporal keys. A range as the first part needs no extension for equality in GiST.
CREATE TABLE kitchen_sink.temporal (
    id int4range, valid daterange, note text,
    CONSTRAINT temporal_pk PRIMARY KEY (id, valid WITHOUT OVERLAPS),
    CONSTRAINT temporal_unique UNIQUE (id, valid WITHOUT OVERLAPS)
);
CREATE TABLE kitchen_sink.temporal_child (
    id int4range, parent int4range, valid daterange,
    PRIMARY KEY (id, valid WITHOUT OVERLAPS),
    CONSTRAINT temporal_parent FOREIGN KEY (parent, PERIOD valid) REFERENCES kitchen_sink.temporal (id, PERIOD valid)
);
INSERT INTO kitchen_sink.temporal VALUES
    ('[1,2)', '[2020-01-01,2021-01-01)', 'first'), ('[1,2)', '[2021-01-01,)', 'second'), ('[2,3)', '[2020-01-01,infinity)', '');
INSERT INTO kitchen_sink.temporal_child VALUES ('[7,8)', '[1,2)', '[2020-06-01,2022-01-01)');

-- 17: partitions share the identity of their parent, also those attached later.
CREATE TABLE kitchen_sink.identity_partitioned (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 10), at date NOT NULL, note text,
    doubled bigint GENERATED ALWAYS AS (id * 2) VIRTUAL
) PARTITION BY RANGE (at);
CREATE TABLE kitchen_sink.identity_partitioned_1 PARTITION OF kitchen_sink.identity_partitioned
    FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE kitchen_sink.identity_attached (
    note text, id bigint NOT NULL, at date NOT NULL, doubled bigint GENERATED ALWAYS AS (id * 2) VIRTUAL
);
ALTER TABLE kitchen_sink.identity_partitioned ATTACH PARTITION kitchen_sink.identity_attached
    FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
INSERT INTO kitchen_sink.identity_partitioned (at, note) VALUES ('2020-05-05', 'a'), ('2021-05-05', 'b');

-- 18: a foreign key of a partitioned table that was not validated.
CREATE TABLE kitchen_sink.partitioned_not_valid (id integer, parent integer) PARTITION BY LIST (id);
CREATE TABLE kitchen_sink.partitioned_not_valid_1 PARTITION OF kitchen_sink.partitioned_not_valid FOR VALUES IN (1);
INSERT INTO kitchen_sink.partitioned_not_valid VALUES (1, 4711);
ALTER TABLE kitchen_sink.partitioned_not_valid ADD CONSTRAINT not_checked
    FOREIGN KEY (parent) REFERENCES kitchen_sink.kitchen_sink NOT VALID;

-- 17: collations built into the server; 16: storage in CREATE TABLE.
CREATE COLLATION kitchen_sink.unicode_builtin (provider = builtin, locale = 'C.UTF-8');
CREATE COLLATION kitchen_sink.unicode_fast (provider = builtin, locale = 'PG_UNICODE_FAST');
CREATE TABLE kitchen_sink.newly_collated (a text STORAGE EXTERNAL COLLATE kitchen_sink.unicode_builtin PRIMARY KEY);
INSERT INTO kitchen_sink.newly_collated VALUES ('Ä'), ('a'), ('Z');
CREATE INDEX newly_collated_idx ON kitchen_sink.newly_collated (a COLLATE kitchen_sink.unicode_fast);

-- 16 to 18: syntax inside views and functions.
CREATE VIEW kitchen_sink.json_constructors AS
SELECT json_object('a' : 1, 'b' : NULL ABSENT ON NULL) AS o, '{}' IS JSON OBJECT AS is_json, j.*
FROM JSON_TABLE('[{"a": 1, "kitchen_sink": "x"}]'::jsonb, '$[*]' AS root
    COLUMNS (nr FOR ORDINALITY, a integer PATH '$.a', kitchen_sink text PATH '$.kitchen_sink' DEFAULT 'none' ON EMPTY)) AS j;
CREATE FUNCTION kitchen_sink.returns_old_and_new(wanted integer) RETURNS TABLE (before numeric, after numeric)
LANGUAGE sql
BEGIN ATOMIC
    UPDATE kitchen_sink.virtual_columns SET net = net + 1 WHERE id = wanted RETURNING old.net, new.gross;
END;
CREATE FUNCTION kitchen_sink.merges(wanted integer) RETURNS text
LANGUAGE sql
BEGIN ATOMIC
    MERGE INTO kitchen_sink.virtual_columns AS t
    USING (SELECT wanted AS id) AS s ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET net = t.net + 1
    WHEN NOT MATCHED BY TARGET THEN INSERT (id, net) VALUES (s.id, 1)
    RETURNING merge_action();
END;
