-- Time series, declared in template.toml: their partitions (or chunks) are made by the control plane.
-- Market data has no foreign keys: each would lock instruments for every new partition, and the feed
-- knows only instruments that exist. What is booked to accounts keeps them.

CREATE TABLE ticks (
    instrument_id bigint NOT NULL,
    at timestamptz NOT NULL,
    sequence bigint NOT NULL,
    price numeric(24, 10) NOT NULL,
    quantity numeric(28, 10) NOT NULL,
    aggressor order_side,
    PRIMARY KEY (instrument_id, at, sequence)
) PARTITION BY RANGE (at);
CREATE INDEX ticks_at_idx ON ticks USING brin (at) WITH (pages_per_range = 32);

CREATE TABLE candles (
    instrument_id bigint NOT NULL,
    resolution candle_resolution NOT NULL,
    at timestamptz NOT NULL,
    open numeric(24, 10) NOT NULL,
    high numeric(24, 10) NOT NULL,
    low numeric(24, 10) NOT NULL,
    close numeric(24, 10) NOT NULL,
    volume numeric(28, 10) NOT NULL DEFAULT 0 CHECK (volume >= 0),
    trade_count integer NOT NULL DEFAULT 0,
    PRIMARY KEY (instrument_id, resolution, at),
    CONSTRAINT candles_shape CHECK (low <= least(open, close) AND high >= greatest(open, close))
) PARTITION BY RANGE (at);

CREATE TABLE order_book_snapshots (
    instrument_id bigint NOT NULL,
    at timestamptz NOT NULL,
    sequence bigint NOT NULL,
    bids price_level[] NOT NULL,
    asks price_level[] NOT NULL,
    best_bid numeric GENERATED ALWAYS AS ((bids[1]).price) STORED,
    best_ask numeric GENERATED ALWAYS AS ((asks[1]).price) STORED,
    PRIMARY KEY (instrument_id, at)
) PARTITION BY RANGE (at);

CREATE TABLE equity_curve (
    account_id bigint NOT NULL REFERENCES accounts,
    at timestamptz NOT NULL,
    cash amount NOT NULL,
    position_value amount NOT NULL,
    equity numeric GENERATED ALWAYS AS (cash::numeric + position_value::numeric) STORED,
    margin_used amount NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, at)
) PARTITION BY RANGE (at);

CREATE TABLE funding_payments (
    account_id bigint NOT NULL REFERENCES accounts,
    instrument_id bigint NOT NULL REFERENCES instruments,
    at timestamptz NOT NULL,
    rate numeric(12, 10) NOT NULL,
    notional amount NOT NULL,
    payment numeric GENERATED ALWAYS AS (round(notional::numeric * rate, 8)) STORED,
    PRIMARY KEY (account_id, instrument_id, at)
) PARTITION BY RANGE (at);
CREATE INDEX funding_payments_instrument_id_idx ON funding_payments (instrument_id, at);

COMMENT ON TABLE ticks IS 'Every trade seen on a venue';
COMMENT ON TABLE candles IS 'Open, high, low, close and volume; at is the start of the interval';
COMMENT ON TABLE order_book_snapshots IS 'Depth of market, best price first';
COMMENT ON TABLE equity_curve IS 'Worth of an account over time';
COMMENT ON TABLE funding_payments IS 'Periodic payments between holders of perpetual contracts';
