-- Collations, enums, domains, composites, ranges, text search.

CREATE COLLATION kitchen_sink.bytewise (provider = libc, locale = 'C');
CREATE COLLATION kitchen_sink."POSIX kopiert" FROM "POSIX";
COMMENT ON COLLATION kitchen_sink.bytewise IS 'Byte by byte';

CREATE TYPE kitchen_sink.mood AS ENUM ('sad', 'ok', 'happy', 'it''s "odd"', '', 'with space', 'größer', E'back\\slash');
-- Labels added in the middle get fractional sort orders; the clone only has to keep the order.
ALTER TYPE kitchen_sink.mood ADD VALUE 'meh' AFTER 'sad';
ALTER TYPE kitchen_sink.mood ADD VALUE 'worst' BEFORE 'sad';
CREATE TYPE kitchen_sink."Ünï ""Quoted"" Enum" AS ENUM ('a', 'b');
CREATE TYPE kitchen_sink.no_labels AS ENUM ();
COMMENT ON TYPE kitchen_sink.mood IS 'How one feels in kitchen_sink.mood';

CREATE FUNCTION kitchen_sink.is_short(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT
RETURN length(value) < 10;

CREATE DOMAIN kitchen_sink.short_text AS text COLLATE kitchen_sink.bytewise
    DEFAULT 'kitchen_sink' NOT NULL
    CONSTRAINT "short enough" CHECK (kitchen_sink.is_short(VALUE))
    CONSTRAINT no_percent CHECK (VALUE NOT LIKE '%\%%' ESCAPE '\');
CREATE DOMAIN kitchen_sink.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN kitchen_sink.small_positive AS kitchen_sink.positive CHECK (VALUE < 1000);
CREATE DOMAIN kitchen_sink.good_mood AS kitchen_sink.mood DEFAULT 'ok' CHECK (VALUE >= 'ok'::kitchen_sink.mood);
CREATE DOMAIN kitchen_sink.triple AS integer[] CHECK (array_length(VALUE, 1) = 3);
CREATE DOMAIN kitchen_sink.odd AS integer;
COMMENT ON DOMAIN kitchen_sink.positive IS 'More than nothing';
COMMENT ON CONSTRAINT "short enough" ON DOMAIN kitchen_sink.short_text IS 'See kitchen_sink.is_short';

CREATE TYPE kitchen_sink.point3 AS (x double precision, y double precision, "Z achse" double precision);
CREATE TYPE kitchen_sink.nested AS (
    "from" kitchen_sink.point3,
    "to" kitchen_sink.point3[],
    label text COLLATE kitchen_sink.bytewise,
    feeling kitchen_sink.mood
);
CREATE TYPE kitchen_sink.no_attributes AS ();
COMMENT ON TYPE kitchen_sink.point3 IS 'A point';
COMMENT ON COLUMN kitchen_sink.point3."Z achse" IS 'Höhe';
CREATE DOMAIN kitchen_sink.origin AS kitchen_sink.point3 CHECK (VALUE IS NULL OR (VALUE).x IS NOT NULL);

CREATE FUNCTION kitchen_sink.time_difference(a time, b time) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT
RETURN extract(epoch FROM (a - b));
CREATE TYPE kitchen_sink.time_range AS RANGE (
    subtype = time,
    subtype_diff = kitchen_sink.time_difference,
    multirange_type_name = kitchen_sink."Zeiten"
);
CREATE TYPE kitchen_sink.text_range AS RANGE (subtype = text, collation = kitchen_sink.bytewise, subtype_opclass = text_pattern_ops);
CREATE TYPE kitchen_sink.mood_range AS RANGE (subtype = kitchen_sink.mood);

CREATE TEXT SEARCH DICTIONARY kitchen_sink."Wörter" (TEMPLATE = pg_catalog.simple, accept = false);
CREATE TEXT SEARCH DICTIONARY kitchen_sink.english_stem (TEMPLATE = pg_catalog.snowball, language = english, stopwords = english);
CREATE TEXT SEARCH CONFIGURATION kitchen_sink.shop (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION kitchen_sink.shop
    ALTER MAPPING FOR asciiword, word WITH kitchen_sink."Wörter", kitchen_sink.english_stem;
ALTER TEXT SEARCH CONFIGURATION kitchen_sink.shop DROP MAPPING FOR url, email;
COMMENT ON TEXT SEARCH DICTIONARY kitchen_sink."Wörter" IS 'Wörterbuch';
COMMENT ON TEXT SEARCH CONFIGURATION kitchen_sink.shop IS 'For goods';
