-- A trading tenant as a benchmark needs it: numbers, times, text and jsonb, with the indexes that are usual.
CREATE TABLE instruments (id integer PRIMARY KEY, symbol text NOT NULL UNIQUE, tick_size numeric NOT NULL);
CREATE TABLE accounts (id integer PRIMARY KEY, number text NOT NULL UNIQUE, name text, opened_at timestamptz NOT NULL);
CREATE TABLE orders (
    id bigint PRIMARY KEY, account_id integer NOT NULL REFERENCES accounts, instrument_id integer NOT NULL REFERENCES instruments,
    client_order_id text NOT NULL, side text NOT NULL, state text NOT NULL, quantity numeric(18, 4) NOT NULL,
    price numeric(18, 6), placed_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, note text
);
CREATE INDEX ON orders (account_id, placed_at);
CREATE INDEX ON orders (client_order_id);
CREATE TABLE executions (
    id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, quantity numeric(18, 4) NOT NULL,
    price numeric(18, 6) NOT NULL, venue text NOT NULL, trade_id text NOT NULL, at timestamptz NOT NULL
);
CREATE INDEX ON executions (order_id);
CREATE TABLE order_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, at timestamptz NOT NULL, body jsonb NOT NULL
);
CREATE INDEX ON order_events (order_id);
CREATE TABLE ledger_lines (
    id bigint PRIMARY KEY, account_id integer NOT NULL REFERENCES accounts, currency text NOT NULL, amount numeric(18, 4) NOT NULL,
    booked_at timestamptz NOT NULL, reference text NOT NULL
);
CREATE INDEX ON ledger_lines (account_id, booked_at);
CREATE TABLE candles (
    instrument_id integer NOT NULL, resolution text NOT NULL, at timestamptz NOT NULL, open numeric(18, 6), high numeric(18, 6),
    low numeric(18, 6), close numeric(18, 6), volume numeric(20, 4), PRIMARY KEY (instrument_id, resolution, at)
);
CREATE TABLE ticks_a (
    id bigint PRIMARY KEY, instrument_id integer NOT NULL, at timestamptz NOT NULL, price numeric(18, 6) NOT NULL,
    quantity numeric(18, 4) NOT NULL, aggressor text NOT NULL
);
CREATE INDEX ON ticks_a (instrument_id, at);
CREATE TABLE ticks_b (
    id bigint PRIMARY KEY, instrument_id integer NOT NULL, at timestamptz NOT NULL, price numeric(18, 6) NOT NULL,
    quantity numeric(18, 4) NOT NULL, aggressor text NOT NULL
);
CREATE INDEX ON ticks_b (instrument_id, at);
CREATE TABLE ticks_c (
    id bigint PRIMARY KEY, instrument_id integer NOT NULL, at timestamptz NOT NULL, price numeric(18, 6) NOT NULL,
    quantity numeric(18, 4) NOT NULL, aggressor text NOT NULL
);
CREATE INDEX ON ticks_c (instrument_id, at);
CREATE TABLE ticks_d (
    id bigint PRIMARY KEY, instrument_id integer NOT NULL, at timestamptz NOT NULL, price numeric(18, 6) NOT NULL,
    quantity numeric(18, 4) NOT NULL, aggressor text NOT NULL
);
CREATE INDEX ON ticks_d (instrument_id, at);
CREATE TABLE ticks_e (
    id bigint PRIMARY KEY, instrument_id integer NOT NULL, at timestamptz NOT NULL, price numeric(18, 6) NOT NULL,
    quantity numeric(18, 4) NOT NULL, aggressor text NOT NULL
);
CREATE INDEX ON ticks_e (instrument_id, at);
