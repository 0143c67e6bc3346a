-- Functions that need no table. Those used by indexes, checks or materialized views name only
-- built-in functions, because maintenance runs them with a restricted search_path.

CREATE FUNCTION touch_updated_at() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE FUNCTION forbid_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: rows are append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Correct a mistake with a new, opposite row.';
END
$$;

CREATE FUNCTION order_transition_allowed(from_state order_state, to_state order_state) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE from_state
        WHEN 'pending_new' THEN to_state IN ('open', 'rejected', 'cancelled')
        WHEN 'open' THEN to_state IN ('partially_filled', 'filled', 'cancel_pending', 'cancelled', 'expired')
        WHEN 'partially_filled' THEN to_state IN ('filled', 'cancel_pending', 'cancelled', 'expired')
        WHEN 'cancel_pending' THEN to_state IN ('open', 'partially_filled', 'filled', 'cancelled')
        ELSE false
    END;
END;

CREATE FUNCTION round_to_step(value numeric, step numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN round(value / step) * step;

CREATE FUNCTION signed_quantity(side order_side, units numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE side WHEN 'buy' THEN units ELSE -units END;

-- Volume-weighted average price; state = {sum of price × quantity, sum of quantity}.
CREATE FUNCTION vwap_add(state numeric[], trade_price numeric, trade_quantity numeric) RETURNS numeric[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[
    state[1] + coalesce(trade_price * trade_quantity, 0),
    state[2] + CASE WHEN trade_price IS NULL THEN 0 ELSE coalesce(trade_quantity, 0) END
];

CREATE FUNCTION vwap_merge(a numeric[], b numeric[]) RETURNS numeric[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[a[1] + b[1], a[2] + b[2]];

CREATE FUNCTION vwap_result(state numeric[]) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN state[1] / nullif(state[2], 0);

CREATE AGGREGATE vwap(trade_price numeric, trade_quantity numeric) (
    SFUNC = vwap_add,
    STYPE = numeric[],
    FINALFUNC = vwap_result,
    COMBINEFUNC = vwap_merge,
    INITCOND = '{0,0}',
    PARALLEL = SAFE
);

COMMENT ON FUNCTION forbid_change() IS 'Trigger for append-only tables';
COMMENT ON FUNCTION order_transition_allowed(order_state, order_state) IS 'The order state machine';
COMMENT ON FUNCTION round_to_step(numeric, numeric) IS 'Nearest multiple of a tick or lot size';
COMMENT ON AGGREGATE vwap(numeric, numeric) IS 'Volume-weighted average price';
