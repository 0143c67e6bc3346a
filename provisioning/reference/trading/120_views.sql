-- What people ask most. They run with the rights of the reader, unless said otherwise.

CREATE VIEW open_orders WITH (security_invoker = true) AS
SELECT o.id, a.number AS account_number, i.venue_code, i.symbol, o.side, o.order_type, o.state,
    o.quantity, o.remaining_quantity, o.limit_price, o.stop_price, o.time_in_force, o.placed_at
FROM orders o
JOIN accounts a ON a.id = o.account_id
JOIN instruments i ON i.id = o.instrument_id
WHERE o.state IN ('pending_new', 'open', 'partially_filled', 'cancel_pending');

CREATE VIEW cash_balances WITH (security_invoker = true) AS
SELECT a.id AS account_id, a.number AS account_number, l.currency, -b.balance AS cash, b.updated_at
FROM ledger_balances b
JOIN ledger_accounts l ON l.id = b.ledger_account_id AND l.chart_code = '2100'
JOIN accounts a ON a.id = l.account_id;

CREATE VIEW trial_balance WITH (security_invoker = true) AS
SELECT c.code, c.name, c.category, l.currency, sum(b.debits) AS debits, sum(b.credits) AS credits,
    sum(b.balance) * CASE WHEN c.is_debit_normal THEN 1 ELSE -1 END AS balance
FROM ledger_balances b
JOIN ledger_accounts l ON l.id = b.ledger_account_id
JOIN chart_of_accounts c ON c.code = l.chart_code
GROUP BY c.code, l.currency;

CREATE RECURSIVE VIEW account_tree (account_id, root_id, depth, path) AS
    SELECT id, id, 0, ARRAY[number]
    FROM accounts
    WHERE parent_account_id IS NULL
UNION ALL
    SELECT a.id, t.root_id, t.depth + 1, t.path || a.number
    FROM accounts a
    JOIN account_tree t ON t.account_id = a.parent_account_id;

CREATE VIEW latest_prices WITH (security_invoker = true) AS
SELECT i.id AS instrument_id, c.close AS price, c.at
FROM instruments i
CROSS JOIN LATERAL (
    SELECT close, at FROM candles
    WHERE instrument_id = i.id AND resolution = '1m'
    ORDER BY at DESC LIMIT 1
) c;

CREATE VIEW position_values WITH (security_invoker = true) AS
SELECT p.account_id, p.instrument_id, i.symbol, i.quote_currency, p.quantity, p.average_price, l.price AS last_price,
    p.quantity * l.price * i.contract_multiplier AS market_value,
    p.quantity * (l.price - p.average_price) * i.contract_multiplier AS unrealised_pnl,
    p.realised_pnl
FROM positions p
JOIN instruments i ON i.id = p.instrument_id
LEFT JOIN latest_prices l ON l.instrument_id = p.instrument_id
WHERE p.quantity <> 0;

CREATE VIEW unsettled_executions WITH (security_invoker = true) AS
SELECT e.id AS execution_id, e.venue_code, i.quote_currency, e.executed_at, o.account_id, o.side, e.gross
FROM executions e
JOIN orders o ON o.id = e.order_id
JOIN instruments i ON i.id = o.instrument_id
WHERE NOT EXISTS (SELECT FROM settlement_items s WHERE s.execution_id = e.id);

-- Runs as its owner with a barrier: it may be shown to people who must not see the users table.
CREATE VIEW member_directory WITH (security_barrier = true) AS
SELECT m.account_id, u.public_id, u.full_name, m.role
FROM account_members m
JOIN users u ON u.id = m.user_id
WHERE u.is_active;

CREATE VIEW active_watchlists WITH (security_invoker = true) AS
SELECT id, user_id, name, is_shared FROM watchlists WHERE is_shared
WITH LOCAL CHECK OPTION;

-- Refreshed by the control plane, which owns them.
CREATE MATERIALIZED VIEW daily_volumes AS
SELECT o.instrument_id, (e.executed_at AT TIME ZONE 'UTC')::date AS day, count(*) AS trades,
    sum(e.quantity::numeric) AS quantity, sum(e.gross) AS turnover,
    sum(e.gross) / nullif(sum(e.quantity::numeric), 0) AS average_price
FROM executions e
JOIN orders o ON o.id = e.order_id
GROUP BY 1, 2;
CREATE UNIQUE INDEX daily_volumes_key ON daily_volumes (instrument_id, day);

CREATE MATERIALIZED VIEW account_performance AS
SELECT account_id, date_trunc('month', at AT TIME ZONE 'UTC')::date AS month,
    min(equity) AS lowest, max(equity) AS highest, avg(equity) AS average
FROM equity_curve
GROUP BY 1, 2;
CREATE UNIQUE INDEX account_performance_key ON account_performance (account_id, month);

COMMENT ON VIEW open_orders IS 'Orders that can still trade';
COMMENT ON VIEW cash_balances IS 'Cash of clients, positive in their favour';
COMMENT ON VIEW trial_balance IS 'Totals of the books by kind and currency';
COMMENT ON VIEW account_tree IS 'Accounts below their parents';
COMMENT ON VIEW member_directory IS 'Names of account members, without their other data';
COMMENT ON MATERIALIZED VIEW daily_volumes IS 'Turnover of an instrument by UTC day';
COMMENT ON MATERIALIZED VIEW account_performance IS 'Equity of an account by month';
