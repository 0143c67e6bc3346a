-- Automated trading: a strategy, its immutable versions, and how they did on past data.

CREATE TABLE strategies (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    owner_id bigint NOT NULL REFERENCES users,
    name text NOT NULL,
    state run_state NOT NULL DEFAULT 'draft',
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, name)
);
CREATE INDEX strategies_owner_id_idx ON strategies (owner_id);

CREATE TABLE strategy_versions (
    strategy_id bigint NOT NULL REFERENCES strategies ON DELETE CASCADE,
    version integer NOT NULL CHECK (version > 0),
    code_sha256 sha256 NOT NULL,
    parameters jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (strategy_id, version)
);

CREATE TABLE backtests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy_id bigint NOT NULL,
    version integer NOT NULL,
    state run_state NOT NULL DEFAULT 'queued',
    period daterange NOT NULL CHECK (NOT isempty(period) AND NOT lower_inf(period) AND NOT upper_inf(period)),
    days integer GENERATED ALWAYS AS (upper(period) - lower(period)) STORED,
    initial_equity amount NOT NULL CHECK (initial_equity > 0),
    final_equity amount,
    total_return numeric GENERATED ALWAYS AS (round(final_equity / initial_equity - 1, 6)) STORED,
    metrics jsonb NOT NULL DEFAULT '{}',
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    FOREIGN KEY (strategy_id, version) REFERENCES strategy_versions ON DELETE CASCADE,
    CHECK ((state IN ('finished', 'failed')) = (finished_at IS NOT NULL)),
    CHECK (state <> 'failed' OR error IS NOT NULL)
);
CREATE INDEX backtests_strategy_idx ON backtests (strategy_id, version, created_at DESC);
CREATE INDEX backtests_metrics_idx ON backtests USING gin (metrics jsonb_path_ops);

CREATE TABLE backtest_trades (
    backtest_id bigint NOT NULL REFERENCES backtests ON DELETE CASCADE,
    number integer NOT NULL CHECK (number > 0),
    instrument_id bigint NOT NULL REFERENCES instruments,
    side order_side NOT NULL,
    quantity quantity NOT NULL CHECK (quantity > 0),
    price price NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (backtest_id, number)
);
CREATE INDEX backtest_trades_instrument_id_idx ON backtest_trades (instrument_id);

CREATE TRIGGER strategies_touch BEFORE UPDATE ON strategies FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER strategy_versions_immutable BEFORE UPDATE ON strategy_versions
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

COMMENT ON TABLE strategy_versions IS 'Immutable: a result must always lead back to the code that made it';
COMMENT ON TABLE backtests IS 'Runs of a strategy version over past market data';
COMMENT ON COLUMN backtests.total_return IS 'Gain as a fraction of the initial equity';
