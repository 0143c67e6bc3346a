-- Functions whose text is hard to move: they name their own schema in code, strings and identifiers,
-- quote in every way, or look like something else (COPY blocks, psql commands, end of statement).

CREATE FUNCTION kitchen_sink.self_names() RETURNS text
LANGUAGE plpgsql STABLE
AS $_$
DECLARE
    -- a comment about kitchen_sink.mood; don't stop here
    "kitchen_sink" text := 'variable of the same name';
    n bigint;
    feeling kitchen_sink.mood := 'ok';
    r regclass := 'kitchen_sink.kitchen_sink';
BEGIN
    EXECUTE format('SELECT count(*) FROM %I.%I', 'kitchen_sink', 'kitchen_sink') INTO n;
    EXECUTE 'SELECT count(*) FROM "kitchen_sink"."Größe"' INTO n;
    SELECT count(*) INTO n FROM kitchen_sink."Größe" AS g;
    PERFORM $$a 'nested' $q$ quote $q$ in kitchen_sink$$;
    RETURN n || kitchen_sink || feeling || r::text;
END
$_$;

CREATE FUNCTION kitchen_sink.looks_like_copy() RETURNS text
LANGUAGE plpgsql
AS '
BEGIN
    /* COPY kitchen_sink.t (a, b) FROM stdin;
1	2
\.
*/
    RETURN $a$
\restrict x
--
-- Name: fake; Type: TABLE; Schema: kitchen_sink; Owner: -
--
;
$a$ || ''%s {0} :name \\ %% $1 '' || ''it''''s'';
END';

CREATE FUNCTION kitchen_sink.all_modes(
    IN a integer, INOUT b text, OUT c numeric, VARIADIC rest integer[] DEFAULT '{1,2}'
) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 7
AS $$ BEGIN b := b || a; c := rest[1]; END $$;

CREATE FUNCTION kitchen_sink.defaults(
    a integer DEFAULT nextval('kitchen_sink.plain'), "b B" text DEFAULT 'it''s', c kitchen_sink.mood DEFAULT 'happy',
    d kitchen_sink.point3 DEFAULT ROW(1, 2, 3), e timestamptz DEFAULT now()
) RETURNS text LANGUAGE sql
AS 'SELECT $1::text || $2 || $3 || $4 || $5';

CREATE FUNCTION kitchen_sink.as_table(n integer) RETURNS TABLE (i integer, "Wert" kitchen_sink.mood)
LANGUAGE sql STABLE STRICT ROWS 42 COST 1000 PARALLEL RESTRICTED
AS $$ SELECT g, 'ok'::kitchen_sink.mood FROM generate_series(1, n) AS g $$;

CREATE FUNCTION kitchen_sink.with_settings() RETURNS text
LANGUAGE sql
SET search_path = kitchen_sink, pg_temp
SET work_mem = '1MB'
SET "DateStyle" = 'ISO, DMY'
SET extra_float_digits FROM CURRENT
AS $$ SELECT current_setting('search_path') $$;

-- Old style: arguments by number, no names.
CREATE FUNCTION kitchen_sink.overloaded(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION kitchen_sink.overloaded(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 || $2';
CREATE FUNCTION kitchen_sink.overloaded(anyelement, anyarray) RETURNS anyarray LANGUAGE sql AS 'SELECT array_append($2, $1)';
CREATE FUNCTION kitchen_sink.compatible(anycompatible, VARIADIC anycompatiblearray) RETURNS anycompatible
    LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, $2[1])';
CREATE FUNCTION kitchen_sink."naïve ""fn"" %s"("ärg" integer) RETURNS SETOF integer
    LANGUAGE sql CALLED ON NULL INPUT NOT LEAKPROOF AS 'SELECT "ärg"';
CREATE FUNCTION kitchen_sink.records() RETURNS SETOF record LANGUAGE sql AS 'VALUES (1, ''a'')';
CREATE FUNCTION kitchen_sink.nothing() RETURNS void LANGUAGE sql AS '';

CREATE FUNCTION kitchen_sink.kitchen_sink(kitchen_sink integer) RETURNS integer
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT kitchen_sink.kitchen_sink + 1;
END;

CREATE PROCEDURE kitchen_sink.proc(IN a integer, INOUT total bigint DEFAULT 0)
LANGUAGE plpgsql
AS $$ BEGIN total := total + a; COMMIT; END $$;
CREATE PROCEDURE kitchen_sink."do it"() LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;

CREATE FUNCTION kitchen_sink.my_window(integer) RETURNS integer LANGUAGE plpgsql WINDOW AS $$ BEGIN RETURN 1; END $$;

-- Aggregates: plain, with a moving state, ordered set, hypothetical set, variadic, with a sort operator.
CREATE FUNCTION kitchen_sink.add_up(state numeric, value numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN state + value;
CREATE FUNCTION kitchen_sink.take_off(state numeric, value numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN state - value;
CREATE FUNCTION kitchen_sink.collect(state numeric[], value numeric) RETURNS numeric[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN state || value;
CREATE FUNCTION kitchen_sink.middle(state numeric[], share numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE RETURN state[ceil(cardinality(state) * share)::integer];
CREATE FUNCTION kitchen_sink.would_rank(state numeric[], value numeric, anything numeric) RETURNS bigint
    LANGUAGE sql IMMUTABLE AS 'SELECT count(*) + 1 FROM unnest(state) AS s WHERE s < value';
CREATE FUNCTION kitchen_sink.larger(a numeric, b numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT RETURN greatest(a, b);
CREATE AGGREGATE kitchen_sink.total(numeric) (
    SFUNC = kitchen_sink.add_up, STYPE = numeric, SSPACE = 64, COMBINEFUNC = kitchen_sink.add_up, INITCOND = '0',
    MSFUNC = kitchen_sink.add_up, MINVFUNC = kitchen_sink.take_off, MSTYPE = numeric, MINITCOND = '0', PARALLEL = SAFE
);
CREATE AGGREGATE kitchen_sink.share(numeric ORDER BY numeric) (
    SFUNC = kitchen_sink.collect, STYPE = numeric[], INITCOND = '{}', FINALFUNC = kitchen_sink.middle
);
CREATE AGGREGATE kitchen_sink.rank_of(numeric ORDER BY numeric) (
    SFUNC = kitchen_sink.collect, STYPE = numeric[], INITCOND = '{}', FINALFUNC = kitchen_sink.would_rank,
    FINALFUNC_EXTRA, HYPOTHETICAL
);
CREATE AGGREGATE kitchen_sink.biggest(numeric) (SFUNC = kitchen_sink.larger, STYPE = numeric, SORTOP = >);
COMMENT ON AGGREGATE kitchen_sink.share(numeric ORDER BY numeric) IS 'The value at a share of the rows';

-- Operators: each names the other before it exists; names are symbols, so quoting does not help.
CREATE FUNCTION kitchen_sink.nearly(a numeric, b numeric) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT RETURN abs(a - b) < 0.01;
CREATE FUNCTION kitchen_sink.not_nearly(a numeric, b numeric) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT RETURN NOT (abs(a - b) < 0.01);
CREATE FUNCTION kitchen_sink.half(a numeric) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT RETURN a / 2;
CREATE OPERATOR kitchen_sink.~~~ (
    FUNCTION = kitchen_sink.nearly, LEFTARG = numeric, RIGHTARG = numeric,
    COMMUTATOR = OPERATOR(kitchen_sink.~~~), NEGATOR = OPERATOR(kitchen_sink.!~~~), RESTRICT = eqsel, JOIN = eqjoinsel
);
CREATE OPERATOR kitchen_sink.!~~~ (
    FUNCTION = kitchen_sink.not_nearly, LEFTARG = numeric, RIGHTARG = numeric,
    COMMUTATOR = OPERATOR(kitchen_sink.!~~~), NEGATOR = OPERATOR(kitchen_sink.~~~), RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR kitchen_sink.@#@ (FUNCTION = kitchen_sink.half, RIGHTARG = numeric);
COMMENT ON OPERATOR kitchen_sink.~~~ (numeric, numeric) IS 'Nearly equal';

COMMENT ON FUNCTION kitchen_sink.self_names() IS $$It's about kitchen_sink; 100%$$;
COMMENT ON PROCEDURE kitchen_sink.proc(integer, bigint) IS 'Commits';
REVOKE EXECUTE ON FUNCTION kitchen_sink.nothing() FROM PUBLIC;

-- Depends on nothing yet: used as a column default, in a check and in a generated column below.
CREATE FUNCTION kitchen_sink.next_code() RETURNS text
LANGUAGE sql VOLATILE
RETURN 'C-' || nextval('kitchen_sink.plain'::regclass);
CREATE FUNCTION kitchen_sink.slugify(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(regexp_replace(value, '[^[:alnum:]]+', '-', 'g'));
