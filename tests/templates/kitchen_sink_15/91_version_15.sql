-- What Debian's PostgreSQL 15 can do and the embedded 18 cannot. Loaded after kitchen_sink/.

-- ICU: the embedded server is built without it.
CREATE COLLATION kitchen_sink."de-phonebook" (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION kitchen_sink.ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
COMMENT ON COLLATION kitchen_sink.ignore_case IS 'A and a are equal';
CREATE TABLE kitchen_sink.caseless (
    name text COLLATE kitchen_sink.ignore_case PRIMARY KEY,
    sorted text COLLATE kitchen_sink."de-phonebook"
);
CREATE INDEX caseless_sorted_idx ON kitchen_sink.caseless (sorted, name COLLATE kitchen_sink.bytewise);
INSERT INTO kitchen_sink.caseless VALUES ('Straße', 'Ärger'), ('STRASSE!', 'Azur');
CREATE DOMAIN kitchen_sink.caseless_text AS text COLLATE kitchen_sink.ignore_case CHECK (VALUE <> 'kitchen_sink');

-- XML: the embedded server is built without libxml.
INSERT INTO kitchen_sink.builtin_types (id, x) VALUES (15, '<?xml version="1.0"?><a b="c">&amp;<![CDATA[kitchen_sink]]></a>');

-- Since 17 a table with an identity column cannot be attached, nor may partitions have identities of their own.
CREATE TABLE kitchen_sink.identity_partitioned (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE kitchen_sink.identity_attached (at date NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY (START 500));
ALTER TABLE kitchen_sink.identity_partitioned ATTACH PARTITION kitchen_sink.identity_attached
    FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO kitchen_sink.identity_attached (at) VALUES ('2020-02-29');
