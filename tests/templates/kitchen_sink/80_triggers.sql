-- Triggers of every kind and in every state.

CREATE TABLE kitchen_sink.fired (n integer GENERATED ALWAYS AS IDENTITY, what text, detail text);

CREATE FUNCTION kitchen_sink.note() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO kitchen_sink.fired (what, detail)
    VALUES (TG_NAME || ' ' || TG_OP, TG_TABLE_SCHEMA = 'kitchen_sink' OR TG_NARGS > 0);
    RETURN coalesce(NEW, OLD);
END
$$;
CREATE FUNCTION kitchen_sink.note_statement() RETURNS trigger
LANGUAGE plpgsql
AS $$ BEGIN INSERT INTO kitchen_sink.fired (what) VALUES (TG_NAME || ' ' || TG_OP); RETURN NULL; END $$;
CREATE FUNCTION kitchen_sink.note_rows() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO kitchen_sink.fired (what, detail)
    SELECT TG_NAME, count(*) FROM (SELECT FROM "neue Zeilen" UNION ALL SELECT FROM old_rows) AS changed;
    RETURN NULL;
END
$$;

CREATE TRIGGER "row before ""x""" BEFORE INSERT OR UPDATE OF a, b ON kitchen_sink.parent
    FOR EACH ROW WHEN (new.c > 0 AND new.d IS DISTINCT FROM 'kitchen_sink')
    EXECUTE FUNCTION kitchen_sink.note('an argument', 'it''s', '', 'back\slash', '%s', '42');
CREATE TRIGGER row_after AFTER UPDATE OR DELETE ON kitchen_sink.parent FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();
CREATE TRIGGER changed_only AFTER UPDATE ON kitchen_sink.parent
    FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION kitchen_sink.note();
CREATE TRIGGER statement_before BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON kitchen_sink.parent
    FOR EACH STATEMENT EXECUTE FUNCTION kitchen_sink.note_statement();
CREATE TRIGGER transition AFTER UPDATE ON kitchen_sink.parent
    REFERENCING NEW TABLE AS "neue Zeilen" OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION kitchen_sink.note_rows();
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE ON kitchen_sink.child
    FROM kitchen_sink.parent DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (new.id > 0) EXECUTE FUNCTION kitchen_sink.note();
CREATE CONSTRAINT TRIGGER immediate AFTER DELETE ON kitchen_sink.child
    NOT DEFERRABLE FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE OR DELETE ON kitchen_sink.over_materialized
    FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();
CREATE TRIGGER view_statement BEFORE INSERT ON kitchen_sink.over_materialized EXECUTE FUNCTION kitchen_sink.note_statement();

CREATE TRIGGER disabled BEFORE INSERT ON kitchen_sink.hen FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();
CREATE TRIGGER always BEFORE INSERT ON kitchen_sink.hen FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();
CREATE TRIGGER replica BEFORE INSERT ON kitchen_sink.hen FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();
ALTER TABLE kitchen_sink.hen DISABLE TRIGGER disabled;
ALTER TABLE kitchen_sink.hen ENABLE ALWAYS TRIGGER always;
ALTER TABLE kitchen_sink.hen ENABLE REPLICA TRIGGER replica;

-- On partitioned tables; one partition has a trigger of its own and another has switched the common one off.
CREATE TRIGGER everywhere AFTER INSERT ON kitchen_sink.by_range FOR EACH ROW WHEN (new.value > 0)
    EXECUTE FUNCTION kitchen_sink.note('partition');
CREATE TRIGGER statement_only AFTER INSERT ON kitchen_sink.by_range EXECUTE FUNCTION kitchen_sink.note_statement();
CREATE TRIGGER only_2020 BEFORE UPDATE ON kitchen_sink.by_range_2020 FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();
ALTER TABLE kitchen_sink.by_range_default DISABLE TRIGGER everywhere;
ALTER TABLE kitchen_sink.by_range_old ENABLE ALWAYS TRIGGER everywhere;

-- A built-in trigger function, and one that has nothing to do.
CREATE TRIGGER no_change BEFORE UPDATE ON kitchen_sink.egg FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER "Größe" BEFORE INSERT ON kitchen_sink."Größe" FOR EACH ROW EXECUTE FUNCTION kitchen_sink.note();

COMMENT ON TRIGGER "row before ""x""" ON kitchen_sink.parent IS 'Before kitchen_sink';
COMMENT ON TRIGGER everywhere ON kitchen_sink.by_range IS 'In each partition';
