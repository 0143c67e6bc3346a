-- Rows every tenant starts with. Fixed values only: all tenants' rows are equal, byte for byte.

INSERT INTO currencies (code, name, minor_units, is_fiat) VALUES
    ('USD', 'US dollar', 2, true),
    ('EUR', 'Euro', 2, true),
    ('GBP', 'Pound sterling', 2, true),
    ('CHF', 'Swiss franc', 2, true),
    ('JPY', 'Yen', 0, true),
    ('CAD', 'Canadian dollar', 2, true),
    ('AUD', 'Australian dollar', 2, true),
    ('BTC', 'Bitcoin', 8, false),
    ('ETH', 'Ether', 18, false),
    ('SOL', 'Solana', 9, false),
    ('USDC', 'USD Coin', 6, false),
    ('USDT', 'Tether', 6, false);

INSERT INTO countries (code, name, is_restricted) VALUES
    ('US', 'United States', false), ('DE', 'Germany', false), ('FR', 'France', false),
    ('GB', 'United Kingdom', false), ('CH', 'Switzerland', false), ('JP', 'Japan', false),
    ('CA', 'Canada', false), ('AU', 'Australia', false), ('SG', 'Singapore', false),
    ('KP', 'North Korea', true), ('IR', 'Iran', true), ('CI', 'Côte d''Ivoire', false);

INSERT INTO venues (code, name, country_code, time_zone, settlement_days) VALUES
    ('XNAS', 'Nasdaq', 'US', 'America/New_York', 1),
    ('XNYS', 'New York Stock Exchange', 'US', 'America/New_York', 1),
    ('XETR', 'Xetra', 'DE', 'Europe/Berlin', 2),
    ('XLON', 'London Stock Exchange', 'GB', 'Europe/London', 2),
    ('XTKS', 'Tokyo Stock Exchange', 'JP', 'Asia/Tokyo', 2),
    ('CRYPTO', 'Digital assets, around the clock', NULL, 'UTC', 0);

INSERT INTO market_calendars (venue_code, weekday, opens, closes)
SELECT v.code, d.weekday, v.opens, v.closes
FROM (VALUES
    ('XNAS', time '09:30', time '16:00'), ('XNYS', '09:30', '16:00'), ('XETR', '09:00', '17:30'),
    ('XLON', '08:00', '16:30'), ('XTKS', '09:00', '15:30')
) AS v (code, opens, closes)
CROSS JOIN generate_series(1, 5) AS d (weekday)
ORDER BY v.code, d.weekday;

INSERT INTO market_holidays (venue_code, day, name, closes_early_at) VALUES
    ('XNAS', '2027-01-01', 'New Year', NULL), ('XNAS', '2027-11-25', 'Thanksgiving', NULL),
    ('XNAS', '2027-11-26', 'Day after Thanksgiving', '13:00'), ('XNAS', '2027-12-24', 'Christmas (observed)', NULL),
    ('XNYS', '2027-01-01', 'New Year', NULL), ('XNYS', '2027-11-25', 'Thanksgiving', NULL),
    ('XNYS', '2027-11-26', 'Day after Thanksgiving', '13:00'), ('XNYS', '2027-12-24', 'Christmas (observed)', NULL),
    ('XETR', '2027-01-01', 'Neujahr', NULL), ('XETR', '2027-03-26', 'Karfreitag', NULL),
    ('XETR', '2027-03-29', 'Ostermontag', NULL), ('XETR', '2027-12-24', 'Heiligabend', NULL),
    ('XLON', '2027-01-01', 'New Year''s Day', NULL), ('XLON', '2027-03-26', 'Good Friday', NULL),
    ('XTKS', '2027-01-01', '元日', NULL), ('XTKS', '2027-01-11', '成人の日', NULL);

INSERT INTO order_types (code, name, needs_limit_price, needs_stop_price, rests_in_book, description) VALUES
    ('market', 'Market', false, false, false, 'Trades at once at the best price there is'),
    ('limit', 'Limit', true, false, true, 'Trades at the limit or better'),
    ('stop', 'Stop', false, true, false, 'Becomes a market order when the stop price trades'),
    ('stop_limit', 'Stop limit', true, true, true, 'Becomes a limit order when the stop price trades'),
    ('market_on_close', 'Market on close', false, false, false, 'Trades in the closing auction'),
    ('limit_on_close', 'Limit on close', true, false, true, 'Trades in the closing auction at the limit or better'),
    ('post_only', 'Post only', true, false, true, 'Refused if it would trade at once'),
    ('pegged', 'Pegged to mid', true, false, true, 'Follows the middle of the book, no further than the limit');

INSERT INTO fee_schedules (code, name, is_default) VALUES
    ('standard', 'Standard', true),
    ('professional', 'Professional', false),
    ('house', 'House accounts', false);

INSERT INTO fee_rates (fee_schedule_id, monthly_volume, valid_during, maker_bps, taker_bps, minimum_fee) VALUES
    (1, '[0,1000000)', '[2020-01-01,)', 8, 10, 0.5),
    (1, '[1000000,)', '[2020-01-01,)', 6, 8, 0.5),
    (2, '[0,10000000)', '[2020-01-01,)', 2, 5, 0),
    (2, '[10000000,)', '[2020-01-01,)', -0.5, 3, 0),
    (3, '[0,)', '[2020-01-01,)', 0, 0, 0);

INSERT INTO chart_of_accounts (code, name, category, parent_code, is_per_client) VALUES
    ('1000', 'Assets', 'asset', NULL, false),
    ('1100', 'Client money at banks', 'asset', '1000', false),
    ('1200', 'Receivable from venues', 'asset', '1000', false),
    ('1300', 'Own cash', 'asset', '1000', false),
    ('2000', 'Liabilities', 'liability', NULL, false),
    ('2100', 'Client cash', 'liability', '2000', true),
    ('2200', 'Margin received', 'liability', '2000', true),
    ('3000', 'Equity', 'equity', NULL, false),
    ('4000', 'Income', 'income', NULL, false),
    ('4100', 'Commissions', 'income', '4000', false),
    ('4200', 'Interest and funding', 'income', '4000', false),
    ('5000', 'Expenses', 'expense', NULL, false),
    ('5100', 'Exchange fees', 'expense', '5000', false),
    ('5200', 'Trading errors', 'expense', '5000', false);

INSERT INTO instruments (
    symbol, venue_code, name, kind, state, base_currency, quote_currency, tick_size, lot_size,
    contract_multiplier, order_quantity, listed_on, created_at, updated_at
)
SELECT symbol, venue, name, kind::instrument_kind, 'active', base, quote, tick, lot, multiplier, '(0,1000000]',
    listed, timestamptz '2020-01-01 00:00:00+00', timestamptz '2020-01-01 00:00:00+00'
FROM (VALUES
    ('BTC-USD', 'CRYPTO', 'Bitcoin', 'spot', 'BTC', 'USD', 0.01, 0.00001, 1, date '2009-01-03'),
    ('ETH-USD', 'CRYPTO', 'Ether', 'spot', 'ETH', 'USD', 0.01, 0.0001, 1, date '2015-07-30'),
    ('SOL-USD', 'CRYPTO', 'Solana', 'spot', 'SOL', 'USD', 0.001, 0.01, 1, date '2020-03-16'),
    ('BTC-PERP', 'CRYPTO', 'Bitcoin perpetual', 'perpetual', NULL, 'USD', 0.1, 1, 0.001, NULL),
    ('EUR/USD', 'CRYPTO', 'Euro against US dollar', 'fx', 'EUR', 'USD', 0.00001, 1000, 1, NULL),
    ('AAPL', 'XNAS', 'Apple Inc.', 'equity', NULL, 'USD', 0.01, 1, 1, date '1980-12-12'),
    ('MSFT', 'XNAS', 'Microsoft Corp.', 'equity', NULL, 'USD', 0.01, 1, 1, date '1986-03-13'),
    ('SAP', 'XETR', 'SAP SE', 'equity', NULL, 'EUR', 0.02, 1, 1, date '1988-11-04'),
    ('VUSA', 'XLON', 'S&P 500 UCITS ETF', 'etf', NULL, 'GBP', 0.005, 1, 1, date '2012-05-22'),
    ('7203', 'XTKS', 'トヨタ自動車', 'equity', NULL, 'JPY', 0.5, 100, 1, date '1949-05-16')
) AS i (symbol, venue, name, kind, base, quote, tick, lot, multiplier, listed);

INSERT INTO instrument_identifiers (scheme, code, instrument_id)
SELECT 'ISIN', v.isin, i.id
FROM (VALUES ('AAPL', 'US0378331005'), ('MSFT', 'US5949181045'), ('SAP', 'DE0007164600')) AS v (symbol, isin)
JOIN instruments i USING (symbol);

INSERT INTO derivative_terms (instrument_id, underlying_id, funding_interval)
SELECT p.id, s.id, interval '8 hours'
FROM instruments p JOIN instruments s ON s.symbol = 'BTC-USD'
WHERE p.symbol = 'BTC-PERP';

INSERT INTO margin_requirements (instrument_id, from_notional, initial_rate, maintenance_rate)
SELECT i.id, t.from_notional, t.initial_rate, t.maintenance_rate
FROM instruments i
CROSS JOIN (VALUES (0, 0.05, 0.025), (1000000, 0.1, 0.05)) AS t (from_notional, initial_rate, maintenance_rate)
WHERE i.symbol = 'BTC-PERP';

INSERT INTO settings (key, value, description, updated_at) VALUES
    ('trading.enabled', 'true', 'Whether orders are accepted at all', '2020-01-01 00:00:00+00'),
    ('trading.default_order_type', '"limit"', 'Order type offered first', '2020-01-01 00:00:00+00'),
    ('risk.warn_channels', '["email", "in_app"]', 'How warnings are delivered', '2020-01-01 00:00:00+00'),
    ('reporting.currency', '"USD"', 'Currency of consolidated reports', '2020-01-01 00:00:00+00');
