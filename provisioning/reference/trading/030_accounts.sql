-- People, what they may touch, and how they prove who they are.

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    email email_address NOT NULL,
    full_name text NOT NULL CHECK (full_name <> ''),
    country_code country_code REFERENCES countries,
    address postal_address,
    locale text NOT NULL DEFAULT 'en',
    is_active boolean NOT NULL DEFAULT true,
    preferences jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(preferences) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email::text));
CREATE INDEX users_country_code_idx ON users (country_code);

CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number text NOT NULL UNIQUE CHECK (number ~ '^[A-Z0-9-]{4,20}$'),
    name text NOT NULL,
    kind account_kind NOT NULL DEFAULT 'cash',
    state account_state NOT NULL DEFAULT 'pending',
    base_currency currency_code NOT NULL REFERENCES currencies,
    fee_schedule_id integer NOT NULL REFERENCES fee_schedules,
    parent_account_id bigint REFERENCES accounts,
    leverage numeric(6, 2) NOT NULL DEFAULT 1 CHECK (leverage >= 1),
    tags text[] NOT NULL DEFAULT '{}',
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'closed') = (closed_at IS NOT NULL)),
    CHECK (kind = 'margin' OR leverage = 1),
    CHECK (parent_account_id <> id)
);
CREATE INDEX accounts_base_currency_idx ON accounts (base_currency);
CREATE INDEX accounts_fee_schedule_id_idx ON accounts (fee_schedule_id);
CREATE INDEX accounts_parent_account_id_idx ON accounts (parent_account_id) WHERE parent_account_id IS NOT NULL;
CREATE INDEX accounts_tags_idx ON accounts USING gin (tags);

CREATE TABLE account_members (
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    role member_role NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, user_id)
);
CREATE INDEX account_members_user_id_idx ON account_members (user_id);
CREATE UNIQUE INDEX account_members_owner_key ON account_members (account_id) WHERE role = 'owner';

CREATE TABLE api_clients (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    account_id bigint REFERENCES accounts ON DELETE CASCADE,
    name text NOT NULL,
    key_prefix text NOT NULL UNIQUE CHECK (length(key_prefix) BETWEEN 6 AND 16),
    secret_hash sha256 NOT NULL,
    scopes text[] NOT NULL DEFAULT '{}',
    allowed_networks cidr[] NOT NULL DEFAULT '{}',
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, name)
);
CREATE INDEX api_clients_account_id_idx ON api_clients (account_id);

CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash sha256 NOT NULL,
    remote_address inet,
    user_agent text,
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    lifetime tstzrange GENERATED ALWAYS AS (tstzrange(started_at, coalesce(ended_at, expires_at))) STORED,
    CHECK (expires_at > started_at)
);
CREATE INDEX sessions_user_id_idx ON sessions (user_id, started_at DESC);
CREATE INDEX sessions_token_hash_idx ON sessions USING hash (token_hash);

CREATE TABLE kyc_documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('passport', 'identity_card', 'proof_of_address', 'source_of_funds', 'register_extract')),
    state review_state NOT NULL DEFAULT 'submitted',
    issued_by country_code REFERENCES countries,
    valid_during daterange,
    storage_key text NOT NULL UNIQUE,
    content_sha256 sha256 NOT NULL,
    reviewed_by bigint REFERENCES users ON DELETE SET NULL,
    reviewed_at timestamptz,
    rejection_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (reviewed_by <> user_id),
    CHECK (state <> 'rejected' OR rejection_reason IS NOT NULL)
);
CREATE INDEX kyc_documents_user_id_idx ON kyc_documents (user_id);
CREATE INDEX kyc_documents_issued_by_idx ON kyc_documents (issued_by);
CREATE INDEX kyc_documents_reviewed_by_idx ON kyc_documents (reviewed_by);
CREATE INDEX kyc_documents_queue_idx ON kyc_documents (created_at) WHERE state IN ('submitted', 'in_review');

CREATE TABLE payment_methods (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    currency currency_code NOT NULL REFERENCES currencies,
    kind text NOT NULL CHECK (kind IN ('bank_account', 'card', 'wallet')),
    label text NOT NULL,
    details jsonb NOT NULL CHECK (jsonb_typeof(details) = 'object'),
    verified_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, label)
);
CREATE INDEX payment_methods_currency_idx ON payment_methods (currency);

CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER accounts_touch BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER api_clients_touch BEFORE UPDATE ON api_clients FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER kyc_documents_touch BEFORE UPDATE ON kyc_documents FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

COMMENT ON TABLE users IS 'People who sign in';
COMMENT ON TABLE accounts IS 'Trading accounts; sub-accounts point to their parent';
COMMENT ON COLUMN accounts.leverage IS 'Largest exposure as a multiple of equity; 1 unless a margin account';
COMMENT ON TABLE account_members IS 'Who may act for an account, and as what';
COMMENT ON TABLE api_clients IS 'Machine access; only a hash of the secret is kept';
COMMENT ON COLUMN api_clients.account_id IS 'NULL: every account of the user';
COMMENT ON TABLE kyc_documents IS 'Proofs of identity; the files live in object storage';
COMMENT ON INDEX account_members_owner_key IS 'An account has one owner';
