-- Limits, and what broke them.

CREATE TABLE risk_limits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind risk_limit_kind NOT NULL,
    account_id bigint REFERENCES accounts ON DELETE CASCADE,
    instrument_id bigint REFERENCES instruments ON DELETE CASCADE,
    threshold numeric(28, 8) NOT NULL CHECK (threshold > 0),
    warn_at numeric(4, 3) NOT NULL DEFAULT 0.8 CHECK (warn_at > 0 AND warn_at <= 1),
    blocks boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- NULL means every account, every instrument; still only one limit of a kind for it.
    CONSTRAINT risk_limits_scope_key UNIQUE NULLS NOT DISTINCT (account_id, instrument_id, kind)
);
CREATE INDEX risk_limits_instrument_id_idx ON risk_limits (instrument_id);

CREATE TABLE risk_breaches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    risk_limit_id bigint NOT NULL REFERENCES risk_limits ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES accounts,
    order_id bigint REFERENCES orders,
    observed numeric(28, 8) NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    resolved_by bigint REFERENCES users,
    resolved_at timestamptz,
    CHECK ((resolved_by IS NULL) = (resolved_at IS NULL))
);
CREATE INDEX risk_breaches_risk_limit_id_idx ON risk_breaches (risk_limit_id);
CREATE INDEX risk_breaches_account_id_idx ON risk_breaches (account_id, at DESC);
CREATE INDEX risk_breaches_order_id_idx ON risk_breaches (order_id);
CREATE INDEX risk_breaches_resolved_by_idx ON risk_breaches (resolved_by);
CREATE INDEX risk_breaches_open_idx ON risk_breaches (at) WHERE resolved_at IS NULL;

CREATE TABLE margin_requirements (
    instrument_id bigint NOT NULL REFERENCES instruments ON DELETE CASCADE,
    from_notional amount NOT NULL DEFAULT 0 CHECK (from_notional >= 0),
    initial_rate numeric(6, 5) NOT NULL CHECK (initial_rate > 0 AND initial_rate <= 1),
    maintenance_rate numeric(6, 5) NOT NULL CHECK (maintenance_rate > 0),
    PRIMARY KEY (instrument_id, from_notional),
    CHECK (maintenance_rate <= initial_rate)
);

CREATE TRIGGER risk_limits_touch BEFORE UPDATE ON risk_limits FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- The tightest limit that applies to an account and an instrument; NULL when there is none.
CREATE FUNCTION tightest_limit(limit_kind risk_limit_kind, account bigint, instrument bigint) RETURNS risk_limits
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.*
    FROM risk_limits l
    WHERE l.kind = limit_kind AND l.blocks
        AND (l.account_id IS NULL OR l.account_id = account)
        AND (l.instrument_id IS NULL OR l.instrument_id = instrument)
    ORDER BY l.threshold, l.id
    LIMIT 1;
END;

COMMENT ON TABLE risk_limits IS 'Limits of an account, an instrument, both, or (both NULL) the whole platform';
COMMENT ON COLUMN risk_limits.warn_at IS 'Fraction of the threshold from which a warning is raised';
COMMENT ON TABLE risk_breaches IS 'Each time a limit was exceeded, and who dealt with it';
COMMENT ON TABLE margin_requirements IS 'Margin by size of position';
