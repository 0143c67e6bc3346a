-- From an order to money: place_order() checks and accepts, inserting an execution does the rest.
-- All of it runs with the rights of the caller; names resolve through the login's search_path.

CREATE FUNCTION available_cash(client_account bigint, in_currency text) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    -- Client cash is a liability: the client's credit is a negative balance.
    SELECT coalesce(-sum(b.balance), 0)
    FROM ledger_accounts a JOIN ledger_balances b ON b.ledger_account_id = a.id
    WHERE a.account_id = client_account AND a.chart_code = '2100' AND a.currency = in_currency;
END;

CREATE FUNCTION fee_for(schedule integer, volume numeric, on_day date, liquidity liquidity, gross numeric) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN fee_for.liquidity = 'maker' THEN fee_for.gross * r.maker_bps::numeric / 10000
                ELSE greatest(fee_for.gross * r.taker_bps::numeric / 10000, r.minimum_fee::numeric) END
    FROM fee_rates r
    WHERE r.fee_schedule_id = schedule AND r.monthly_volume @> volume AND r.valid_during @> on_day;
END;

-- Why an order may not be placed now; NULL when it may. Price is the limit, or the caller's estimate.
CREATE FUNCTION order_refusal(
    account accounts, instrument instruments, side order_side, units numeric, at_price numeric
) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    notional numeric := units * at_price * instrument.contract_multiplier;
    ceiling risk_limits := tightest_limit('order_notional', account.id, instrument.id);
BEGIN
    RETURN CASE
        WHEN account.state <> 'active' THEN 'account is ' || account.state
        WHEN instrument.state <> 'active' OR is_halted(instrument.id, now()) THEN 'instrument is not trading'
        WHEN NOT instrument.order_quantity @> units THEN 'quantity is outside the venue''s limits'
        WHEN units % instrument.lot_size <> 0 THEN 'quantity is not a multiple of the lot size'
        WHEN at_price % instrument.tick_size <> 0 THEN 'price is not a multiple of the tick size'
        WHEN NOT instrument.price_band @> at_price THEN 'price is outside the band'
        WHEN notional > ceiling.threshold THEN 'order exceeds the limit of ' || ceiling.threshold
        WHEN side = 'buy' AND account.kind = 'cash'
            AND notional > available_cash(account.id, instrument.quote_currency) THEN 'not enough cash'
    END;
END
$$;

-- Records the order, accepted or rejected, and returns it. Raises when account or instrument do not exist.
CREATE FUNCTION place_order(
    account_number text, on_venue text, on_symbol text, order_reference text, order_side order_side,
    units numeric, at_price numeric, type_code text DEFAULT 'limit', validity time_in_force DEFAULT 'day'
) RETURNS orders
LANGUAGE plpgsql
AS $$
DECLARE
    account accounts%ROWTYPE;
    instrument instruments%ROWTYPE;
    catalogue order_types%ROWTYPE;
    refusal text;
    placed orders%ROWTYPE;
BEGIN
    SELECT * INTO STRICT account FROM accounts WHERE number = account_number;
    SELECT * INTO STRICT instrument FROM instruments WHERE venue_code = on_venue AND symbol = on_symbol;
    SELECT * INTO STRICT catalogue FROM order_types WHERE code = type_code;
    refusal := order_refusal(account, instrument, order_side, units, at_price);
    INSERT INTO orders (
        account_id, instrument_id, order_type, client_order_id, side, quantity, limit_price, stop_price,
        time_in_force, state, reject_reason
    ) VALUES (
        account.id, instrument.id, type_code, order_reference, order_side, units,
        CASE WHEN catalogue.needs_limit_price THEN at_price END, CASE WHEN catalogue.needs_stop_price THEN at_price END,
        validity, CASE WHEN refusal IS NULL THEN 'pending_new' ELSE 'rejected' END::order_state, refusal
    ) RETURNING * INTO placed;
    IF refusal IS NULL THEN
        UPDATE orders SET state = 'open' WHERE id = placed.id RETURNING * INTO placed;
    END IF;
    RETURN placed;
END
$$;

CREATE FUNCTION cancel_order(order_id bigint) RETURNS order_state
LANGUAGE plpgsql
AS $$
DECLARE
    result order_state;
BEGIN
    UPDATE orders SET state = 'cancelled' WHERE id = cancel_order.order_id RETURNING state INTO STRICT result;
    RETURN result;
END
$$;

CREATE FUNCTION apply_fill_to_order(filled orders, fill executions) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    total numeric := filled.filled_quantity + fill.quantity;
BEGIN
    IF filled.state NOT IN ('open', 'partially_filled', 'cancel_pending') THEN
        RAISE EXCEPTION 'order % is %, it cannot be filled', filled.id, filled.state USING ERRCODE = 'check_violation';
    END IF;
    IF total > filled.quantity THEN
        RAISE EXCEPTION 'order % would be overfilled', filled.id USING ERRCODE = 'check_violation';
    END IF;
    UPDATE orders
    SET filled_quantity = total,
        average_price = (coalesce(average_price, 0) * filled.filled_quantity + fill.gross) / total,
        state = CASE WHEN total = quantity THEN 'filled' ELSE 'partially_filled' END::order_state
    WHERE id = filled.id;
END
$$;

-- Returns the profit this fill realised, in the quote currency.
CREATE FUNCTION apply_fill_to_position(filled orders, fill executions, multiplier numeric) RETURNS numeric
LANGUAGE plpgsql
AS $$
DECLARE
    held positions%ROWTYPE;
    change numeric := signed_quantity(filled.side, fill.quantity);
    closing numeric := 0;
    profit numeric := 0;
    new_quantity numeric;
BEGIN
    INSERT INTO positions (account_id, instrument_id) VALUES (filled.account_id, filled.instrument_id)
    ON CONFLICT (account_id, instrument_id) DO NOTHING;
    SELECT * INTO STRICT held FROM positions
    WHERE account_id = filled.account_id AND instrument_id = filled.instrument_id FOR UPDATE;
    IF sign(held.quantity) * sign(change) < 0 THEN
        closing := least(abs(held.quantity), abs(change));
        profit := round(closing * (fill.price - held.average_price) * sign(held.quantity) * multiplier, 8);
    END IF;
    new_quantity := held.quantity + change;
    UPDATE positions
    SET quantity = new_quantity,
        realised_pnl = realised_pnl + profit,
        average_price = CASE
            WHEN new_quantity = 0 THEN 0
            WHEN closing = 0 THEN (abs(held.quantity) * held.average_price + fill.gross) / abs(new_quantity)
            WHEN closing = abs(held.quantity) THEN fill.price
            ELSE held.average_price
        END
    WHERE account_id = held.account_id AND instrument_id = held.instrument_id;
    RETURN profit;
END
$$;

CREATE FUNCTION charge_commission(account accounts, fill executions, in_currency text, notional numeric) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    volume numeric;
    fee numeric;
BEGIN
    SELECT coalesce(sum(e.gross), 0) INTO volume
    FROM executions e JOIN orders o ON o.id = e.order_id
    WHERE o.account_id = account.id AND e.executed_at >= date_trunc('month', fill.executed_at);
    fee := round(fee_for(account.fee_schedule_id, volume, fill.executed_at::date, fill.liquidity, notional), 8);
    IF coalesce(fee, 0) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO execution_fees (execution_id, kind, currency, amount) VALUES (fill.id, 'commission', in_currency, fee);
    PERFORM post_journal(
        'fee', fill.id::text, ledger_account_for(account.id, '2100', in_currency),
        ledger_account_for(NULL, '4100', in_currency), fee
    );
END
$$;

CREATE FUNCTION book_execution() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    filled orders%ROWTYPE;
    account accounts%ROWTYPE;
    instrument instruments%ROWTYPE;
    profit numeric;
    cash numeric;
BEGIN
    SELECT * INTO STRICT filled FROM orders WHERE id = NEW.order_id FOR UPDATE;
    SELECT * INTO STRICT account FROM accounts WHERE id = filled.account_id;
    SELECT * INTO STRICT instrument FROM instruments WHERE id = filled.instrument_id;
    PERFORM apply_fill_to_order(filled, NEW);
    profit := apply_fill_to_position(filled, NEW, instrument.contract_multiplier);
    -- Futures exchange only gains and losses, everything else is paid for.
    cash := CASE WHEN instrument.kind IN ('future', 'perpetual') THEN profit
            ELSE -signed_quantity(filled.side, round(NEW.gross * instrument.contract_multiplier, 8)) END;
    PERFORM post_journal(
        'trade', NEW.id::text, ledger_account_for(NULL, '1200', instrument.quote_currency),
        ledger_account_for(account.id, '2100', instrument.quote_currency), cash
    );
    PERFORM charge_commission(account, NEW, instrument.quote_currency, NEW.gross * instrument.contract_multiplier);
    INSERT INTO outbox_messages (topic, payload) VALUES ('execution', to_jsonb(NEW));
    RETURN NULL;
END
$$;

CREATE TRIGGER executions_book AFTER INSERT ON executions FOR EACH ROW EXECUTE FUNCTION book_execution();

COMMENT ON FUNCTION place_order(text, text, text, text, order_side, numeric, numeric, text, time_in_force)
    IS 'Checks and records an order: open when accepted, else rejected with the reason';
COMMENT ON FUNCTION order_refusal(accounts, instruments, order_side, numeric, numeric)
    IS 'Checks before a trade; NULL when the order may be placed';
COMMENT ON FUNCTION book_execution() IS 'Carries a fill into order, position, fees, ledger and outbox';
