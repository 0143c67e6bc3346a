-- What users watch, what they are told, what other systems are told, and who did what.

CREATE TABLE watchlists (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    is_shared boolean NOT NULL DEFAULT false,
    UNIQUE (user_id, name)
);

CREATE TABLE watchlist_items (
    watchlist_id bigint NOT NULL REFERENCES watchlists ON DELETE CASCADE,
    instrument_id bigint NOT NULL REFERENCES instruments ON DELETE CASCADE,
    rank integer NOT NULL,
    PRIMARY KEY (watchlist_id, instrument_id),
    -- Deferrable, so that two items can change places in one transaction.
    CONSTRAINT watchlist_items_rank_key UNIQUE (watchlist_id, rank) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX watchlist_items_instrument_id_idx ON watchlist_items (instrument_id);

CREATE TABLE price_alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    instrument_id bigint NOT NULL REFERENCES instruments ON DELETE CASCADE,
    fires_in price_range NOT NULL CHECK (NOT isempty(fires_in)),
    note text,
    fired_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX price_alerts_user_id_idx ON price_alerts (user_id);
CREATE INDEX price_alerts_instrument_id_idx ON price_alerts (instrument_id);
CREATE INDEX price_alerts_armed_idx ON price_alerts USING gist (fires_in) WHERE fired_at IS NULL;

CREATE TABLE notifications (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    kind text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    read_at timestamptz
);
CREATE INDEX notifications_user_id_idx ON notifications (user_id, created_at DESC);
CREATE INDEX notifications_unread_idx ON notifications (user_id) WHERE read_at IS NULL;

-- Written in the transaction of the change it tells about, sent by a relay afterwards.
CREATE TABLE outbox_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_messages_pending_idx ON outbox_messages (id) WHERE published_at IS NULL;

-- Names are copied, not referenced: the record outlives what it is about.
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    database_login name NOT NULL DEFAULT session_user,
    actor text,
    action text NOT NULL CHECK (action IN ('INSERT', 'UPDATE', 'DELETE')),
    table_name name NOT NULL,
    row_key text,
    before jsonb,
    after jsonb,
    CHECK (before IS NOT NULL OR after IS NOT NULL)
);
CREATE INDEX audit_log_at_idx ON audit_log USING brin (at);
CREATE INDEX audit_log_row_idx ON audit_log (table_name, row_key);

-- Arguments of the trigger: columns that must not be copied into the log.
CREATE FUNCTION audit_row() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - coalesce(TG_ARGV, '{}') END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - coalesce(TG_ARGV, '{}') END;
BEGIN
    INSERT INTO audit_log (actor, action, table_name, row_key, before, after)
    VALUES (
        nullif(current_setting('app.actor', true), ''), TG_OP, TG_TABLE_NAME,
        coalesce(new_row, old_row) ->> 'id', old_row, new_row
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER accounts_audit AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER api_clients_audit AFTER INSERT OR UPDATE OR DELETE ON api_clients
    FOR EACH ROW EXECUTE FUNCTION audit_row('secret_hash', 'last_used_at');
CREATE TRIGGER risk_limits_audit AFTER INSERT OR UPDATE OR DELETE ON risk_limits
    FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER withdrawals_audit AFTER INSERT OR UPDATE OR DELETE ON withdrawals
    FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();

COMMENT ON TABLE watchlists IS 'Instruments a user keeps an eye on';
COMMENT ON TABLE price_alerts IS 'Fire once, when the price enters the range';
COMMENT ON TABLE outbox_messages IS 'Events for other systems, published after commit';
COMMENT ON TABLE audit_log IS 'Append-only record of changes to sensitive tables; app.actor names the person';
