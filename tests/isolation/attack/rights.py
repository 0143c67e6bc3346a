"""Becoming more than a tenant: rights, roles, own code, the server's files, the control plane's own functions."""

from __future__ import annotations

from tests.isolation.attack.probe import Probe

_ROLES = {
    "set role of its group": "SET LOCAL ROLE {b}_rw",
    "set role of its login": "SET LOCAL ROLE {b}_rw_a",
    "set role of its owner": "SET LOCAL ROLE {b}_owner",
    "set role of own owner": "SET LOCAL ROLE {a}_owner",
    "set role of the control plane": "SET LOCAL ROLE {operator}",
    "set role of the superuser": "SET LOCAL ROLE postgres",
    "set role of pg_read_all_data": "SET LOCAL ROLE pg_read_all_data",
    "session authorization": "SET LOCAL SESSION AUTHORIZATION {b}_rw_a",
    "grant its group to me": "GRANT {b}_rw TO {a}_rw_a",
    "grant own owner to me": "GRANT {a}_owner TO {a}_rw_a",
    "grant pg_read_all_data to me": "GRANT pg_read_all_data TO {a}_rw_a",
    "grant cp_operator to me": "GRANT cp_operator TO {a}_rw_a",
    "alter its password": "ALTER ROLE {b}_rw_a PASSWORD 'mine'",
    "open its other login": "ALTER ROLE {b}_rw_b LOGIN",
    "alter its settings": "ALTER ROLE {b}_rw_a SET search_path = {a}",
    "alter the database's settings": "ALTER DATABASE {db} SET search_path = {a}",
    "alter my attributes": "ALTER ROLE {a}_rw_a SUPERUSER",
    "bypass row security": "ALTER ROLE {a}_rw_a BYPASSRLS",
    "my connection limit": "ALTER ROLE {a}_rw_a CONNECTION LIMIT -1",
    "my validity": "ALTER ROLE {a}_rw_a VALID UNTIL 'infinity'",
    "create role": "CREATE ROLE cp_attack_never",
    "drop its login": "DROP ROLE {b}_rw_b",
    "reassign what it owns": "REASSIGN OWNED BY {b}_owner TO {a}_owner",
    "drop what it owns": "DROP OWNED BY {b}_rw",
    "default privileges of its owner": "ALTER DEFAULT PRIVILEGES FOR ROLE {b}_owner GRANT SELECT ON TABLES TO {a}_rw",
    "grant on its table": "GRANT SELECT ON {b}.customers TO {a}_rw",
    "grant on its schema": "GRANT USAGE ON SCHEMA {b} TO {a}_rw",
    "grant on the database": "GRANT ALL ON DATABASE {db} TO {a}_rw_a",
    "revoke its rights": "REVOKE ALL ON {b}.customers FROM {b}_rw",
    "grant a setting": "GRANT SET ON PARAMETER temp_file_limit TO {a}_rw_a",
    "passwords": "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL",
    "passwords by pg_shadow": "SELECT passwd FROM pg_shadow WHERE passwd IS NOT NULL",
}

_SERVER = {
    "read a file": "SELECT pg_read_file('PG_VERSION')",
    "read a binary file": "SELECT pg_read_binary_file('PG_VERSION')",
    "stat a file": "SELECT size FROM pg_stat_file('PG_VERSION')",
    "list a directory": "SELECT pg_ls_dir('.')",
    "list the log": "SELECT count(*) + 1 FROM pg_ls_waldir()",
    "copy from a file": "CREATE TEMP TABLE cp_f (x text); COPY cp_f FROM '/etc/hostname'",
    "copy to a program": "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'",
    "import a large object": "SELECT lo_import('/etc/hostname')",
    "server's files": "SELECT count(*) + 1 FROM pg_hba_file_rules",
    "data directory": "SELECT current_setting('data_directory')",
    "load a library": "LOAD 'auto_explain'",
    "create extension": "CREATE EXTENSION citext",
    "untrusted extension": "CREATE EXTENSION pageinspect",
    "create foreign data wrapper": "CREATE FOREIGN DATA WRAPPER mine",
    "create language": "CREATE LANGUAGE mine HANDLER plpgsql_call_handler",
    "create event trigger": "CREATE EVENT TRIGGER mine ON sql_drop EXECUTE FUNCTION cp.guard_drop()",
    "create publication": "CREATE PUBLICATION mine FOR ALL TABLES",
    "create schema": "CREATE SCHEMA mine",
    "create cast": "CREATE CAST (int AS point) WITHOUT FUNCTION",
    "create access method": "CREATE ACCESS METHOD mine TYPE INDEX HANDLER bthandler",
    "create text search template": "CREATE TEXT SEARCH TEMPLATE mine (LEXIZE = dsimple_lexize)",
    "replication slot": "SELECT pg_create_physical_replication_slot('{slot}', false, true)",
    "replication origin": "SELECT pg_replication_origin_create('cp_attack')",
    "restore point": "SELECT pg_create_restore_point('cp_attack')",
    "switch wal": "SELECT pg_switch_wal()",
    "reload": "SELECT pg_reload_conf()",
    "reset statistics": "SELECT pg_stat_reset() IS NOT NULL",
    "disable triggers": "SET LOCAL session_replication_role = replica",
    "raise temp_file_limit": "SET LOCAL temp_file_limit = -1",
    "silence the log": "SET LOCAL log_statement = 'none'",
    "end its session": "SELECT pg_terminate_backend({pid})",
    "cancel its query": "SELECT pg_cancel_backend({pid})",
    "end the control plane's session": "SELECT pg_terminate_backend({operator_pid})",
    "memory of its session": "SELECT pg_log_backend_memory_contexts({pid})",
}
_SERVER_CONTROLS = {
    "replication slot": "SELECT pg_create_physical_replication_slot('{slot}', false, true); "
    "SELECT pg_drop_replication_slot('{slot}') IS NOT NULL",
    "create event trigger": "CREATE FUNCTION public.et() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; "
    "CREATE EVENT TRIGGER mine ON sql_drop EXECUTE FUNCTION public.et()",
    "create cast": "CREATE TYPE public.t1 AS (i int); CREATE TYPE public.t2 AS ENUM ('a'); "
    "CREATE CAST (text AS public.t2) WITH INOUT",
    "end its session": "SELECT pg_terminate_backend(0) OR true",
    "cancel its query": "SELECT pg_cancel_backend({pid})",
    "end the control plane's session": "SELECT true",
}

_CONTROL_PLANE = {
    "take its owner": "SELECT cp.take_owner('{b}') IS NOT NULL",
    "take own owner": "SELECT cp.take_owner('{a}') IS NOT NULL",
    "its password": "SELECT cp.set_password('{b}', '{b}_rw_a', 'SCRAM-SHA-256$4096:AAAA$AAAA:AAAA') IS NOT NULL",
    "open its login": "SELECT cp.open_logins('{b}', ARRAY['{b}_rw_b']) IS NOT NULL",
    "close its login": "SELECT cp.close_logins('{b}', ARRAY['{b}_rw_b'], false) IS NOT NULL",
    "drop its roles": "SELECT cp.drop_roles('{b}') IS NOT NULL",
    "own limits": "SELECT cp.set_limits('{a}', ARRAY['{a}_rw_a'], 999, '{{}}') IS NOT NULL",
    "own migrator": "SELECT cp.open_migrator('{a}', 'SCRAM-SHA-256$4096:AAAA$AAAA:AAAA', 'infinity', ARRAY['{a}']) IS NOT NULL",
    "the registry": "SELECT secret FROM public.registry",
    "write the registry": "UPDATE public.registry SET secret = 'mine' RETURNING 1",
}
_CONTROL_PLANE_CONTROLS = {"drop its roles": "SELECT true"}

# What a tenant must not be able to do to its own schema, where only the control plane may.
_OWN = {
    "truncate": "TRUNCATE {a}.customers",
    "create table": "CREATE TABLE {a}.mine (id int)",
    "create view": "CREATE VIEW {a}.mine AS SELECT 1",
    "alter table": "ALTER TABLE {a}.customers ADD COLUMN mine int",
    "disable row security": "ALTER TABLE {a}.customers DISABLE ROW LEVEL SECURITY",
    "drop policy": "DROP POLICY tenant_rw ON {a}.customers",
    "grant to another": "GRANT SELECT ON {a}.customers TO {b}_rw",
    "open schema to another": "GRANT USAGE ON SCHEMA {a} TO {b}_rw",
    "create trigger": "CREATE TRIGGER mine BEFORE INSERT ON {a}.customers FOR EACH ROW EXECUTE FUNCTION {a}.stamp()",
    "drop schema": "DROP SCHEMA {a} CASCADE",
    "table in public": "CREATE TABLE public.mine (id int)",
    "references": "CREATE TABLE {a}.mine (id bigint REFERENCES {a}.customers)",
}

_CODE = {
    "do block": "DO $x$ BEGIN END $x$",
    "do reads": "DO $x$ BEGIN PERFORM name FROM {b}.customers; END $x$",
    "forged log line": "DO $x$ BEGIN RAISE LOG 'forged'; END $x$",
    "temporary table": "CREATE TEMP TABLE mine (id int)",
    "temporary function": "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "temporary view": "CREATE TEMP VIEW mine AS SELECT 1",
    "function in public": "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "large object": "SELECT lo_create(0)",
    "large object from bytes": "SELECT lo_from_bytea(0, 'x'::bytea)",
    "foreign large object": "SELECT lo_get({lo})",
    "write foreign large object": "SELECT lo_put({lo}, 0, 'x'::bytea) IS NOT NULL",
    "foreign large object's data": "SELECT data FROM pg_largeobject",
}
_CODE_HARM = {
    "do reads": "read", "foreign large object": "read", "write foreign large object": "modify",
    "foreign large object's data": "read", "function in public": "modify",
}  # fmt: skip

_MIGRATOR = {
    "disable row security": "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
    "no force": "ALTER TABLE customers NO FORCE ROW LEVEL SECURITY",
    "drop policy": "DROP POLICY tenant_rw ON customers",
    "policy for another": "CREATE POLICY mine ON customers TO {b}_rw USING (true)",
    "grant to another": "GRANT SELECT ON customers TO {b}_rw",
    "grant to all": "GRANT SELECT ON customers TO PUBLIC",
    "grant a column to all": "GRANT SELECT (name) ON customers TO PUBLIC",
    "grant truncate": "GRANT TRUNCATE ON customers TO {a}_rw",
    "open schema to another": "GRANT USAGE ON SCHEMA {a} TO {b}_rw",
    "create for all": "GRANT CREATE ON SCHEMA {a} TO {a}_rw",
    "security definer": "CREATE FUNCTION mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "default privileges": "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "drop schema": "DROP SCHEMA {a} CASCADE",
    "rename schema": "ALTER SCHEMA {a} RENAME TO mine",
    "another schema": "CREATE SCHEMA mine",
    "table in public": "CREATE TABLE public.mine (id int)",
    "table there": "CREATE TABLE {b}.mine (id int)",
    "read another": "SELECT name FROM {b}.customers",
    "its owner": "SET LOCAL ROLE {b}_owner",
    "table without an owner": "SET LOCAL ROLE NONE; CREATE TABLE {a}.mine (id int)",
}

PROBES = [
    *(Probe(name, "roles", "escalate", sql) for name, sql in _ROLES.items()),
    *(Probe(name, "server", "escalate", sql, "superuser", _SERVER_CONTROLS.get(name, "")) for name, sql in _SERVER.items()),
    *(
        Probe(name, "control plane", "escalate", sql, "superuser", _CONTROL_PLANE_CONTROLS.get(name, ""))
        for name, sql in _CONTROL_PLANE.items()
    ),
    *(Probe(name, "own schema", "escalate", sql) for name, sql in _OWN.items()),
    *(Probe(name, "own code", _CODE_HARM.get(name, "disturb"), sql) for name, sql in _CODE.items()),  # type: ignore[arg-type]
    *(
        Probe(
            f"own: {name}", "migrator", "escalate", sql, "superuser", "SET LOCAL search_path = {a}; " + sql, "migrator",
            levels=("lockdown", "sealed"), paths=("direct",),
        )
        for name, sql in _MIGRATOR.items()
    ),
    Probe("give own login away", "roles", "escalate", "GRANT {a}_rw_a TO {b}_rw_a"),
    Probe("create database", "server", "escalate", "CREATE DATABASE {db}_mine", alone=True, undo="DROP DATABASE {db}_mine"),
    Probe(
        "create tablespace", "server", "escalate", "CREATE TABLESPACE cp_attack LOCATION '/nowhere'", alone=True,
        control="CREATE DATABASE {db}_mine", undo="DROP DATABASE IF EXISTS {db}_mine",
    ),
    Probe(
        "alter system", "server", "escalate", "ALTER SYSTEM SET log_min_messages = 'warning'", alone=True,
        undo="ALTER SYSTEM RESET log_min_messages",
    ),
    Probe(
        "create subscription", "server", "escalate",
        "CREATE SUBSCRIPTION mine CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false)", alone=True,
        undo="ALTER SUBSCRIPTION mine SET (slot_name = NONE); DROP SUBSCRIPTION mine",
    ),
    Probe("checkpoint", "server", "disturb", "CHECKPOINT", alone=True),
    Probe("vacuum its table", "objects", "modify", "VACUUM {b}.customers", alone=True),
    Probe("drop the database", "server", "modify", "DROP DATABASE {db}", alone=True, control="DROP DATABASE IF EXISTS {db}_none"),
]  # fmt: skip
