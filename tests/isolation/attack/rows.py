"""Reading and changing another tenant's rows and objects, by every statement that could."""

from __future__ import annotations

from tests.isolation.attack.probe import Harm, Probe

_READ = {
    "select": "SELECT name FROM {b}.customers",
    "table": "TABLE {b}.customers",
    "count": "SELECT count(*) FROM {b}.customers",
    "system columns": "SELECT ctid::text FROM {b}.customers",
    "whole row": "SELECT c::text FROM {b}.customers c",
    "tablesample": "SELECT name FROM {b}.customers TABLESAMPLE SYSTEM (100)",
    "partitioned": "SELECT what FROM {b}.events",
    "partition itself": "SELECT what FROM {b}.events_2026",
    "view": "SELECT name FROM {b}.names",
    "materialized view": "SELECT text FROM {b}.counted",
    "function": "SELECT {b}.secret_of()",
    "copy out": "COPY {b}.customers TO STDOUT",
    "copy query out": "COPY (SELECT * FROM {b}.customers) TO STDOUT",
    "cursor": "DECLARE stolen CURSOR FOR SELECT name FROM {b}.customers; FETCH ALL FROM stolen",
    "prepared": "PREPARE stolen AS SELECT name FROM {b}.customers; EXECUTE stolen",
    "ts_stat": "SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', name) FROM {b}.customers')",
    "explain": "EXPLAIN SELECT name FROM {b}.customers",
    "explain analyze": "EXPLAIN ANALYZE SELECT name FROM {b}.customers",
    "search_path": "SET LOCAL search_path = {b}; SELECT name FROM customers",
    "lateral": "SELECT x.name FROM (VALUES (1)) v (i), LATERAL (SELECT name FROM {b}.customers) x",
    "exists": "SELECT EXISTS (SELECT FROM {b}.customers)",
    "enum range": "SELECT enum_range(NULL::{b}.side)::text",
    "domain": "SELECT 1::{b}.percent",
}

_MODIFY = {
    "insert": "INSERT INTO {b}.customers (name) VALUES ('x') RETURNING 1",
    "update": "UPDATE {b}.customers SET name = 'x' RETURNING 1",
    "delete": "DELETE FROM {b}.customers RETURNING 1",
    "merge": "MERGE INTO {b}.customers c USING (VALUES (1)) v (i) ON true WHEN MATCHED THEN UPDATE SET name = 'x'",
    "upsert": "INSERT INTO {b}.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y' RETURNING 1",
    "data-modifying CTE": "WITH gone AS (DELETE FROM {b}.customers RETURNING 1) SELECT count(*) + 1 FROM gone",
    "insert partition": "INSERT INTO {b}.events_2026 VALUES ('2026-02-02', 'x') RETURNING 1",
    "insert view": "INSERT INTO {b}.names (id, name) VALUES (77, 'x') RETURNING 1",
    "nextval": "SELECT nextval('{b}.numbers')",
}

# As superuser, since no tenant may do these to itself.
_DEFINE = {
    "copy in": "COPY {b}.customers (name) FROM STDIN",
    "truncate": "TRUNCATE {b}.customers",
    "read a sequence": "SELECT is_called OR true FROM {b}.customers_id_seq",
    "setval": "SELECT setval('{b}.numbers', 1000)",
    "select for update": "SELECT name FROM {b}.customers FOR UPDATE",
    "add column": "ALTER TABLE {b}.customers ADD COLUMN mine int",
    "drop column": "ALTER TABLE {b}.customers DROP COLUMN side",
    "rename table": "ALTER TABLE {b}.customers RENAME TO mine",
    "drop table": "DROP TABLE {b}.events",
    "drop view": "DROP VIEW {b}.names",
    "drop function": "DROP FUNCTION {b}.secret_of()",
    "drop type": "DROP TYPE {b}.percent",
    "drop sequence": "DROP SEQUENCE {b}.numbers",
    "create table there": "CREATE TABLE {b}.mine (id int)",
    "create view there": "CREATE VIEW {b}.mine AS SELECT 1",
    "create function there": "CREATE FUNCTION {b}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create index": "CREATE INDEX ON {b}.customers (side)",
    "create trigger": "CREATE TRIGGER mine BEFORE INSERT ON {b}.customers FOR EACH ROW EXECUTE FUNCTION {a}.stamp()",
    "create rule": "CREATE RULE mine AS ON INSERT TO {b}.numbers_of DO INSTEAD NOTHING",
    "create policy": "CREATE POLICY mine ON {b}.customers TO {a}_rw USING (true)",
    "drop policy": "DROP POLICY tenant_rw ON {b}.customers",
    "alter policy": "ALTER POLICY tenant_rw ON {b}.customers TO PUBLIC",
    "disable row security": "ALTER TABLE {b}.customers DISABLE ROW LEVEL SECURITY",
    "take table": "ALTER TABLE {b}.customers OWNER TO {a}_owner",
    "take schema": "ALTER SCHEMA {b} OWNER TO {a}_owner",
    "rename schema": "ALTER SCHEMA {b} RENAME TO mine",
    "alter type": "ALTER TYPE {b}.side RENAME VALUE 'buy' TO 'bought'",
    "alter function": "ALTER FUNCTION {b}.secret_of() SECURITY DEFINER",
    "comment": "COMMENT ON TABLE {b}.customers IS 'mine'",
    "statistics": "CREATE STATISTICS {b}.mine ON id, side FROM {b}.customers",
    "refresh": "REFRESH MATERIALIZED VIEW {b}.counted",
    "reindex": "REINDEX TABLE {b}.customers",
    "cluster": "CLUSTER {b}.customers USING customers_pkey",
    "attach partition": "ALTER TABLE {b}.events ATTACH PARTITION {a}.customers DEFAULT",
    "detach partition": "ALTER TABLE {b}.events DETACH PARTITION {b}.events_2026",
    "lock table": "LOCK TABLE {b}.customers IN ACCESS EXCLUSIVE MODE",
}
_CONTROLS = {
    "create rule": "CREATE VIEW {b}.numbers_of AS SELECT 1 AS i; "
    "CREATE RULE mine AS ON INSERT TO {b}.numbers_of DO INSTEAD NOTHING",
    "attach partition": "CREATE TABLE {b}.more (LIKE {b}.events); ALTER TABLE {b}.events ATTACH PARTITION {b}.more DEFAULT",
}

# By the attacker's migrator, which may make things of its own.
_MIGRATE = {
    "foreign key": "CREATE TABLE mine (id bigint REFERENCES {b}.customers)",
    "like": "CREATE TABLE mine (LIKE {b}.customers)",
    "inherit": "CREATE TABLE mine () INHERITS ({b}.customers)",
    "partition of": "CREATE TABLE mine PARTITION OF {b}.events FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
    "view over": "CREATE VIEW mine AS SELECT name FROM {b}.customers",
    "materialized view over": "CREATE MATERIALIZED VIEW mine AS SELECT name FROM {b}.customers",
    "table as": "CREATE TABLE mine AS SELECT name FROM {b}.customers",
    "column of its type": "CREATE TABLE mine (side {b}.side)",
    "default from its sequence": "CREATE TABLE mine (id bigint DEFAULT nextval('{b}.numbers')); INSERT INTO mine DEFAULT VALUES",
    "trigger with its function": "CREATE TRIGGER mine BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION {b}.stamp()",
    "view then read": "CREATE VIEW mine WITH (security_invoker = off) AS SELECT name FROM {b}.customers; SELECT name FROM mine",
    "own function": "CREATE FUNCTION mine() RETURNS text LANGUAGE plpgsql AS "
    "$f$ BEGIN RETURN (SELECT name FROM {b}.customers LIMIT 1); END $f$; SELECT mine()",
}


def _all(statements: dict[str, str], harm: Harm, may: str, channel: str = "rows") -> list[Probe]:
    return [Probe(name, channel, harm, sql, may, _CONTROLS.get(name, "")) for name, sql in statements.items()]


# Debian's 15 is built with XML, the embedded 18 is not.
_XML = {
    "query_to_xml": "SELECT query_to_xml('SELECT name FROM {b}.customers', true, true, '')::text",
    "table_to_xml": "SELECT table_to_xml('{b}.customers', true, true, '')::text",
}

PROBES = [
    *(Probe(name, "rows", "read", sql, "victim", majors=(15,)) for name, sql in _XML.items()),
    *_all(_READ, "read", "victim"),
    *_all(_MODIFY, "modify", "victim"),
    *_all(_DEFINE, "modify", "superuser", "objects"),
    *(
        Probe(
            name, "migrator", "read", sql, "superuser", "SET LOCAL search_path = {a}; " + sql, "migrator",
            levels=("lockdown", "sealed"), paths=("direct",),
        )
        for name, sql in _MIGRATE.items()
    ),
]  # fmt: skip
