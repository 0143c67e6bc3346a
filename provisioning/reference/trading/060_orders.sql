-- Orders, what happened to them, and the positions that came of it.

CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    instrument_id bigint NOT NULL REFERENCES instruments,
    order_type text NOT NULL REFERENCES order_types,
    client_order_id text NOT NULL CHECK (length(client_order_id) BETWEEN 1 AND 64),
    side order_side NOT NULL,
    state order_state NOT NULL DEFAULT 'pending_new',
    time_in_force time_in_force NOT NULL DEFAULT 'day',
    quantity quantity NOT NULL CHECK (quantity > 0),
    limit_price price,
    stop_price price,
    filled_quantity quantity NOT NULL DEFAULT 0,
    average_price numeric(24, 10),
    remaining_quantity numeric GENERATED ALWAYS AS (quantity::numeric - filled_quantity::numeric) STORED,
    parent_order_id bigint REFERENCES orders,
    strategy_id bigint REFERENCES strategies,
    placed_by bigint REFERENCES users,
    api_client_id bigint REFERENCES api_clients ON DELETE SET NULL,
    expires_at timestamptz,
    reject_reason text,
    placed_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT orders_client_order_id_key UNIQUE (account_id, client_order_id),
    CONSTRAINT orders_not_overfilled CHECK (filled_quantity <= quantity),
    CONSTRAINT orders_filled_state CHECK ((state = 'filled') = (filled_quantity = quantity)),
    CONSTRAINT orders_rejected_reason CHECK ((state = 'rejected') = (reject_reason IS NOT NULL)),
    CONSTRAINT orders_gtd_expiry CHECK ((time_in_force = 'gtd') = (expires_at IS NOT NULL)),
    CONSTRAINT orders_not_own_parent CHECK (parent_order_id <> id)
);
CREATE INDEX orders_instrument_id_idx ON orders (instrument_id, placed_at DESC);
CREATE INDEX orders_order_type_idx ON orders (order_type);
CREATE INDEX orders_parent_order_id_idx ON orders (parent_order_id) WHERE parent_order_id IS NOT NULL;
CREATE INDEX orders_strategy_id_idx ON orders (strategy_id) WHERE strategy_id IS NOT NULL;
CREATE INDEX orders_placed_by_idx ON orders (placed_by);
CREATE INDEX orders_api_client_id_idx ON orders (api_client_id) WHERE api_client_id IS NOT NULL;
CREATE INDEX orders_account_recent_idx ON orders (account_id, placed_at DESC) INCLUDE (state, side);
CREATE INDEX orders_working_idx ON orders (instrument_id, side, limit_price)
    WHERE state IN ('open', 'partially_filled', 'cancel_pending');
CREATE INDEX orders_expiry_idx ON orders (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('open', 'partially_filled');
CREATE STATISTICS orders_state_stats (dependencies, mcv) ON state, time_in_force, order_type FROM orders;

CREATE TABLE order_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders,
    from_state order_state,
    to_state order_state NOT NULL,
    filled_quantity quantity NOT NULL,
    reason text,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX order_events_order_id_idx ON order_events (order_id, id);
CREATE INDEX order_events_at_idx ON order_events USING brin (at);

CREATE TABLE executions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders,
    venue_code text NOT NULL REFERENCES venues ON UPDATE CASCADE,
    venue_trade_id text NOT NULL,
    quantity quantity NOT NULL CHECK (quantity > 0),
    price price NOT NULL,
    gross numeric GENERATED ALWAYS AS (quantity::numeric * price::numeric) STORED,
    liquidity liquidity NOT NULL,
    executed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (venue_code, venue_trade_id)
);
CREATE INDEX executions_order_id_idx ON executions (order_id) INCLUDE (quantity, price);
CREATE INDEX executions_executed_at_idx ON executions USING brin (executed_at);

CREATE TABLE execution_fees (
    execution_id bigint NOT NULL REFERENCES executions,
    kind text NOT NULL CHECK (kind IN ('commission', 'exchange', 'clearing', 'tax')),
    currency currency_code NOT NULL REFERENCES currencies,
    amount amount NOT NULL,
    PRIMARY KEY (execution_id, kind)
);
CREATE INDEX execution_fees_currency_idx ON execution_fees (currency);

CREATE TABLE positions (
    account_id bigint NOT NULL REFERENCES accounts,
    instrument_id bigint NOT NULL REFERENCES instruments,
    quantity numeric(28, 10) NOT NULL DEFAULT 0,
    average_price numeric(24, 10) NOT NULL DEFAULT 0,
    realised_pnl amount NOT NULL DEFAULT 0,
    side order_side GENERATED ALWAYS AS (
        CASE WHEN quantity > 0 THEN 'buy'::order_side WHEN quantity < 0 THEN 'sell'::order_side END
    ) STORED,
    opened_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, instrument_id),
    CHECK ((quantity = 0) = (average_price = 0))
) WITH (fillfactor = 80);
CREATE INDEX positions_instrument_id_idx ON positions (instrument_id) INCLUDE (quantity);

CREATE FUNCTION guard_order() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    catalogue order_types%ROWTYPE;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.state <> OLD.state AND NOT order_transition_allowed(OLD.state, NEW.state) THEN
            RAISE EXCEPTION 'order % cannot go from % to %', OLD.id, OLD.state, NEW.state
                USING ERRCODE = 'check_violation';
        END IF;
        IF (NEW.account_id, NEW.instrument_id, NEW.side) <> (OLD.account_id, OLD.instrument_id, OLD.side) THEN
            RAISE EXCEPTION 'account, instrument and side of order % are fixed', OLD.id
                USING ERRCODE = 'check_violation';
        END IF;
        NEW.updated_at := now();
    ELSIF NEW.state NOT IN ('pending_new', 'rejected') THEN
        RAISE EXCEPTION 'a new order starts as pending_new or rejected, not %', NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO STRICT catalogue FROM order_types WHERE code = NEW.order_type;
    IF (NEW.limit_price IS NOT NULL) <> catalogue.needs_limit_price
        OR (NEW.stop_price IS NOT NULL) <> catalogue.needs_stop_price THEN
        RAISE EXCEPTION 'prices do not fit an order of type %', NEW.order_type
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION record_order_event() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO order_events (order_id, from_state, to_state, filled_quantity, reason)
    VALUES (NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state, NEW.filled_quantity, NEW.reject_reason);
    RETURN NULL;
END
$$;

CREATE TRIGGER orders_guard BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION guard_order();
CREATE TRIGGER orders_event_insert AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION record_order_event();
CREATE TRIGGER orders_event_update AFTER UPDATE ON orders FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.filled_quantity IS DISTINCT FROM NEW.filled_quantity)
    EXECUTE FUNCTION record_order_event();
CREATE TRIGGER order_events_append_only BEFORE UPDATE OR DELETE ON order_events
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER executions_append_only BEFORE UPDATE OR DELETE ON executions
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER positions_touch BEFORE UPDATE ON positions FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

COMMENT ON TABLE orders IS 'Instructions to trade; states move only as order_transition_allowed() says';
COMMENT ON COLUMN orders.client_order_id IS 'The client''s own reference, unique within the account';
COMMENT ON TABLE order_events IS 'Append-only history, written by triggers on orders';
COMMENT ON TABLE executions IS 'Append-only fills; inserting one updates order, position, fees and ledger';
COMMENT ON TABLE positions IS 'Net holdings; quantity is negative when short';
COMMENT ON STATISTICS orders_state_stats IS 'State, validity and type of an order go together';
