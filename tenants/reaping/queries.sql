-- name: candidates
-- tenants/prepare.sql: sessions that may have to be ended.
SELECT pid, started, since, login, rule, age_ms, foreign_object, statement, address FROM cp.reap_candidates(%s);

-- name: candidates_in
-- The same, with sessions in databases of tenants' own.
SELECT pid, started, since, login, rule, age_ms, foreign_object, statement, address FROM cp.reap_candidates(%s, %s::text[]);

-- name: reap
-- tenants/prepare.sql: ends those that are still what they were.
SELECT pid FROM cp.reap(%s::int[], %s::text[], %s::timestamptz[]);

-- name: reap_in
-- The same, with sessions in databases of tenants' own.
SELECT pid FROM cp.reap(%s::int[], %s::text[], %s::timestamptz[], %s::text[]);
