-- Sequences that nobody owns, or that are owned later (40_tables.sql); each is left in another state.

CREATE SEQUENCE kitchen_sink.plain;
CREATE SEQUENCE kitchen_sink.down AS smallint INCREMENT BY -5 MINVALUE -1000 MAXVALUE 500 START WITH 400 CACHE 20 CYCLE;
CREATE SEQUENCE kitchen_sink."Folge №1 ""q""" AS integer START 10 NO CYCLE;
CREATE SEQUENCE kitchen_sink.owned_elsewhere MINVALUE 0 START 0;
CREATE SEQUENCE kitchen_sink.untouched START 77;
CREATE UNLOGGED SEQUENCE kitchen_sink.forgetful;
COMMENT ON SEQUENCE kitchen_sink.down IS 'Counts down';

SELECT nextval('kitchen_sink.plain'), nextval('kitchen_sink.plain');
SELECT setval('kitchen_sink.down', -995);
SELECT setval('kitchen_sink."Folge №1 ""q"""', 42, false);
SELECT nextval('kitchen_sink.forgetful');
