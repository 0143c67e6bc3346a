-- Money in and out, and what venues owe for trades.

CREATE TABLE deposits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    payment_method_id bigint REFERENCES payment_methods ON DELETE SET NULL,
    currency currency_code NOT NULL REFERENCES currencies,
    amount amount NOT NULL CHECK (amount > 0),
    state transfer_state NOT NULL DEFAULT 'requested',
    external_reference text UNIQUE,
    journal_entry_id bigint UNIQUE REFERENCES journal_entries,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (journal_entry_id IS NULL OR state IN ('completed', 'returned'))
);
CREATE INDEX deposits_account_id_idx ON deposits (account_id, created_at DESC);
CREATE INDEX deposits_payment_method_id_idx ON deposits (payment_method_id);
CREATE INDEX deposits_currency_idx ON deposits (currency);

CREATE TABLE withdrawals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    payment_method_id bigint REFERENCES payment_methods,
    currency currency_code NOT NULL REFERENCES currencies,
    amount amount NOT NULL CHECK (amount > 0),
    state transfer_state NOT NULL DEFAULT 'requested',
    requested_by bigint REFERENCES users,
    approved_by bigint REFERENCES users,
    journal_entry_id bigint UNIQUE REFERENCES journal_entries,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT withdrawals_four_eyes CHECK (approved_by <> requested_by),
    CHECK (state NOT IN ('approved', 'completed') OR approved_by IS NOT NULL)
);
CREATE INDEX withdrawals_account_id_idx ON withdrawals (account_id, created_at DESC);
CREATE INDEX withdrawals_payment_method_id_idx ON withdrawals (payment_method_id);
CREATE INDEX withdrawals_currency_idx ON withdrawals (currency);
CREATE INDEX withdrawals_requested_by_idx ON withdrawals (requested_by);
CREATE INDEX withdrawals_approved_by_idx ON withdrawals (approved_by);

CREATE TABLE settlements (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue_code text NOT NULL REFERENCES venues ON UPDATE CASCADE,
    currency currency_code NOT NULL REFERENCES currencies,
    settles_on date NOT NULL,
    state settlement_state NOT NULL DEFAULT 'open',
    net_amount amount NOT NULL DEFAULT 0,
    journal_entry_id bigint UNIQUE REFERENCES journal_entries,
    settled_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (venue_code, currency, settles_on),
    CHECK ((state = 'settled') = (settled_at IS NOT NULL))
);
CREATE INDEX settlements_currency_idx ON settlements (currency);

CREATE TABLE settlement_items (
    execution_id bigint PRIMARY KEY REFERENCES executions,
    settlement_id bigint NOT NULL REFERENCES settlements ON DELETE CASCADE,
    amount amount NOT NULL
);
CREATE INDEX settlement_items_settlement_id_idx ON settlement_items (settlement_id);

CREATE FUNCTION post_transfer() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    client_cash bigint := ledger_account_for(NEW.account_id, '2100', NEW.currency);
    bank bigint := ledger_account_for(NULL, '1100', NEW.currency);
BEGIN
    IF TG_TABLE_NAME = 'deposits' THEN
        NEW.journal_entry_id := post_journal('deposit', NEW.id::text, bank, client_cash, NEW.amount);
    ELSE
        NEW.journal_entry_id := post_journal('withdrawal', NEW.id::text, client_cash, bank, NEW.amount);
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER deposits_touch BEFORE UPDATE ON deposits FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER deposits_post BEFORE UPDATE ON deposits FOR EACH ROW
    WHEN (NEW.state = 'completed' AND OLD.state <> 'completed') EXECUTE FUNCTION post_transfer();
CREATE TRIGGER withdrawals_touch BEFORE UPDATE ON withdrawals FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER withdrawals_post BEFORE UPDATE ON withdrawals FOR EACH ROW
    WHEN (NEW.state = 'completed' AND OLD.state <> 'completed') EXECUTE FUNCTION post_transfer();
CREATE TRIGGER settlements_touch BEFORE UPDATE ON settlements FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

COMMENT ON TABLE deposits IS 'Money arriving; completing one posts it to the ledger';
COMMENT ON TABLE withdrawals IS 'Money leaving; needs a second person, completing one posts it';
COMMENT ON CONSTRAINT withdrawals_four_eyes ON withdrawals IS 'Who asks may not approve';
COMMENT ON TABLE settlements IS 'What is exchanged with a venue on a day, net, in one currency';
