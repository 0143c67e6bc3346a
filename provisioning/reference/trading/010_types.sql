-- Vocabulary of the platform: enums for closed lists that code branches on, domains for values
-- that must mean the same in every table. Lists that operators extend are tables (020_reference.sql).

CREATE TYPE account_kind AS ENUM ('cash', 'margin', 'custody', 'house');
CREATE TYPE account_state AS ENUM ('pending', 'active', 'restricted', 'closed');
CREATE TYPE member_role AS ENUM ('owner', 'trader', 'viewer', 'risk_manager');
CREATE TYPE review_state AS ENUM ('submitted', 'in_review', 'approved', 'rejected', 'expired');
CREATE TYPE instrument_kind AS ENUM ('spot', 'equity', 'etf', 'bond', 'future', 'perpetual', 'option', 'fx');
CREATE TYPE instrument_state AS ENUM ('announced', 'active', 'halted', 'delisted');
CREATE TYPE option_right AS ENUM ('call', 'put');
CREATE TYPE order_side AS ENUM ('buy', 'sell');
CREATE TYPE time_in_force AS ENUM ('day', 'gtc', 'gtd', 'ioc', 'fok');
CREATE TYPE order_state AS ENUM (
    'pending_new', 'open', 'partially_filled', 'filled', 'cancel_pending', 'cancelled', 'rejected', 'expired'
);
CREATE TYPE liquidity AS ENUM ('maker', 'taker', 'auction');
CREATE TYPE transfer_state AS ENUM ('requested', 'approved', 'completed', 'rejected', 'returned');
CREATE TYPE settlement_state AS ENUM ('open', 'matched', 'settled', 'failed');
CREATE TYPE corporate_action_kind AS ENUM ('cash_dividend', 'stock_dividend', 'split', 'merger', 'spin_off');
CREATE TYPE risk_limit_kind AS ENUM ('order_notional', 'position_notional', 'daily_loss', 'leverage', 'order_rate');
CREATE TYPE run_state AS ENUM ('draft', 'queued', 'running', 'paused', 'finished', 'failed');
CREATE TYPE candle_resolution AS ENUM ('1m', '5m', '15m', '1h', '4h', '1d');

CREATE DOMAIN currency_code AS text
    CONSTRAINT currency_code_shape CHECK (VALUE ~ '^[A-Z][A-Z0-9]{1,9}$');
CREATE DOMAIN country_code AS text
    CONSTRAINT country_code_shape CHECK (VALUE ~ '^[A-Z]{2}$');
CREATE DOMAIN email_address AS text
    CONSTRAINT email_address_shape CHECK (VALUE ~ '^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$' AND length(VALUE) <= 254);
CREATE DOMAIN amount AS numeric(28, 8);
CREATE DOMAIN price AS numeric(24, 10)
    CONSTRAINT price_positive CHECK (VALUE > 0);
CREATE DOMAIN quantity AS numeric(28, 10)
    CONSTRAINT quantity_not_negative CHECK (VALUE >= 0);
CREATE DOMAIN basis_points AS numeric(9, 4)
    CONSTRAINT basis_points_range CHECK (VALUE BETWEEN -10000 AND 10000);
CREATE DOMAIN sha256 AS bytea
    CONSTRAINT sha256_length CHECK (octet_length(VALUE) = 32);

CREATE TYPE postal_address AS (
    lines text[],
    postal_code text,
    city text,
    country text
);
CREATE TYPE price_level AS (
    price numeric,
    quantity numeric
);
CREATE TYPE price_range AS RANGE (subtype = numeric, multirange_type_name = price_multirange);

COMMENT ON TYPE order_state IS 'Life of an order; the transitions are in order_transition_allowed()';
COMMENT ON TYPE price_level IS 'One step of an order book: a price and the quantity resting there';
COMMENT ON TYPE price_range IS 'Band of prices an order may carry';
COMMENT ON DOMAIN amount IS 'Money, in units of its currency; debit positive, credit negative in the ledger';
COMMENT ON DOMAIN currency_code IS 'ISO 4217 code, or the ticker of a digital asset';
COMMENT ON DOMAIN quantity IS 'Units of an instrument, never negative; the side says the direction';
