-- Double-entry books. A line is positive for debit, negative for credit; the lines of an entry add
-- up to zero in each currency, proved when the transaction commits. Nothing here is ever changed.

CREATE TABLE ledger_accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chart_code text NOT NULL REFERENCES chart_of_accounts,
    account_id bigint REFERENCES accounts,
    currency currency_code NOT NULL REFERENCES currencies,
    opened_at timestamptz NOT NULL DEFAULT now(),
    -- NULL account_id is the platform itself, which also has only one such book.
    CONSTRAINT ledger_accounts_identity_key UNIQUE NULLS NOT DISTINCT (account_id, chart_code, currency)
);
CREATE INDEX ledger_accounts_chart_code_idx ON ledger_accounts (chart_code);
CREATE INDEX ledger_accounts_currency_idx ON ledger_accounts (currency);

CREATE TABLE journal_entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('trade', 'fee', 'deposit', 'withdrawal', 'settlement', 'corporate_action', 'adjustment')),
    reference text NOT NULL,
    description text NOT NULL DEFAULT '',
    reverses_id bigint UNIQUE REFERENCES journal_entries,
    posted_by name NOT NULL DEFAULT session_user,
    posted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, reference)
);
CREATE INDEX journal_entries_posted_at_idx ON journal_entries USING brin (posted_at);

CREATE TABLE ledger_lines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    journal_entry_id bigint NOT NULL REFERENCES journal_entries,
    ledger_account_id bigint NOT NULL REFERENCES ledger_accounts,
    amount amount NOT NULL CHECK (amount <> 0)
);
CREATE INDEX ledger_lines_journal_entry_id_idx ON ledger_lines (journal_entry_id);
CREATE INDEX ledger_lines_ledger_account_id_idx ON ledger_lines (ledger_account_id, id);

CREATE TABLE ledger_balances (
    ledger_account_id bigint PRIMARY KEY REFERENCES ledger_accounts,
    debits amount NOT NULL DEFAULT 0 CHECK (debits >= 0),
    credits amount NOT NULL DEFAULT 0 CHECK (credits >= 0),
    balance numeric GENERATED ALWAYS AS (debits::numeric - credits::numeric) STORED,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

CREATE FUNCTION check_entry_balanced() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    entry bigint;
    line_count bigint;
    unbalanced text;
BEGIN
    IF TG_TABLE_NAME = 'ledger_lines' THEN
        entry := NEW.journal_entry_id;
    ELSE
        entry := NEW.id;
    END IF;
    SELECT sum(c.lines), string_agg(format('%s %s', c.currency, c.total), ', ') FILTER (WHERE c.total <> 0)
    INTO line_count, unbalanced
    FROM (
        SELECT a.currency, count(*) AS lines, sum(l.amount) AS total
        FROM ledger_lines l JOIN ledger_accounts a ON a.id = l.ledger_account_id
        WHERE l.journal_entry_id = entry
        GROUP BY a.currency
    ) c;
    IF coalesce(line_count, 0) < 2 OR unbalanced IS NOT NULL THEN
        RAISE EXCEPTION 'journal entry % does not balance: %', entry, coalesce(unbalanced, 'fewer than two lines')
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION add_to_balances() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    -- In order of account, so that two postings that touch the same books cannot deadlock.
    INSERT INTO ledger_balances AS b (ledger_account_id, debits, credits)
    SELECT ledger_account_id, sum(greatest(amount, 0)), sum(greatest(-amount, 0))
    FROM new_lines
    GROUP BY ledger_account_id
    ORDER BY ledger_account_id
    ON CONFLICT (ledger_account_id) DO UPDATE
        SET debits = b.debits + excluded.debits, credits = b.credits + excluded.credits, updated_at = now();
    RETURN NULL;
END
$$;

CREATE TRIGGER ledger_lines_balances AFTER INSERT ON ledger_lines
    REFERENCING NEW TABLE AS new_lines
    FOR EACH STATEMENT EXECUTE FUNCTION add_to_balances();
CREATE CONSTRAINT TRIGGER ledger_lines_balanced AFTER INSERT ON ledger_lines
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_entry_balanced();
CREATE CONSTRAINT TRIGGER journal_entries_balanced AFTER INSERT ON journal_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_entry_balanced();
CREATE TRIGGER ledger_lines_append_only BEFORE UPDATE OR DELETE ON ledger_lines
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER journal_entries_append_only BEFORE UPDATE OR DELETE ON journal_entries
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE FUNCTION ledger_account_for(client_account bigint, chart text, in_currency text) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    found bigint;
BEGIN
    LOOP
        SELECT id INTO found FROM ledger_accounts
        WHERE account_id IS NOT DISTINCT FROM client_account AND chart_code = chart AND currency = in_currency;
        EXIT WHEN found IS NOT NULL;
        -- Somebody else may open the same book meanwhile; then the next round finds theirs.
        INSERT INTO ledger_accounts (account_id, chart_code, currency) VALUES (client_account, chart, in_currency)
        ON CONFLICT ON CONSTRAINT ledger_accounts_identity_key DO NOTHING;
    END LOOP;
    RETURN found;
END
$$;

-- Posts an entry of two lines; a zero amount posts nothing and returns NULL.
CREATE FUNCTION post_journal(
    entry_kind text, entry_reference text, debit_account bigint, credit_account bigint, value numeric,
    entry_description text DEFAULT ''
) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    entry bigint;
BEGIN
    IF value = 0 THEN
        RETURN NULL;
    END IF;
    INSERT INTO journal_entries (kind, reference, description)
    VALUES (entry_kind, entry_reference, entry_description) RETURNING id INTO entry;
    INSERT INTO ledger_lines (journal_entry_id, ledger_account_id, amount)
    VALUES (entry, debit_account, value), (entry, credit_account, -value);
    RETURN entry;
END
$$;

COMMENT ON TABLE ledger_accounts IS 'One book for each client (or the platform), kind and currency';
COMMENT ON TABLE journal_entries IS 'Append-only; a mistake is reversed by another entry';
COMMENT ON TABLE ledger_lines IS 'Append-only; debit positive, credit negative';
COMMENT ON TABLE ledger_balances IS 'Running totals, kept by a trigger on ledger_lines';
COMMENT ON TRIGGER ledger_lines_balanced ON ledger_lines IS 'Debits equal credits in each currency, checked at commit';
