-- Every kind of object that one schema can hold and pg_dump can write, made without superuser rights, on
-- PostgreSQL 15 and later. What only newer (or only older) servers know is in the directories beside this one.
-- Names are as unpleasant as they may be; comments say where a cloner is likely to trip.
CREATE SCHEMA kitchen_sink;
COMMENT ON SCHEMA kitchen_sink IS 'The kitchen_sink: it''s "all" there; \ $$ %s {0} :x';
SET search_path = kitchen_sink;
