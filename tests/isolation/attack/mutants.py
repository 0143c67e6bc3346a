"""Protections taken away one at a time, each with the statement that puts it back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One protection less: what removes it and what restores it, both as superuser. Names in braces as in probes."""

    name: str
    remove: str
    restore: str
    # Whether it opens something to look at (catalogs), rather than something to act on.
    shows: bool = False


def _grant(privilege: str, on: str, to: str) -> Mutant:
    shows = "pg_catalog." in on or on.startswith("extensions.")
    name, given = f"{privilege} on {on} to {to}", f"{privilege} ON {on}"
    return Mutant(name, f"GRANT {given} TO {to}", f"REVOKE {given} FROM {to}", shows)


def _member(group: str, member: str = "{a}_rw_a") -> Mutant:
    return Mutant(f"{member} in {group}", f"GRANT {group} TO {member}", f"REVOKE {group} FROM {member}")


def _attribute(name: str, role: str = "{a}_rw_a") -> Mutant:
    return Mutant(f"{role} {name}", f"ALTER ROLE {role} {name}", f"ALTER ROLE {role} NO{name}")


MUTANTS: tuple[Mutant, ...] = (
    # The schema and what is in it.
    _grant("USAGE", "SCHEMA {b}", "PUBLIC"),
    _grant("USAGE", "SCHEMA {b}", "{a}_rw"),
    _grant("CREATE", "SCHEMA {a}", "{a}_rw"),
    _grant("SELECT", "{b}.customers", "PUBLIC"),
    _grant("SELECT", "{b}.customers", "{a}_rw"),
    _grant("SELECT (name)", "{b}.customers", "{a}_rw"),
    _grant("TRUNCATE", "{a}.customers", "{a}_rw"),
    _grant("TRIGGER", "{a}.customers", "{a}_rw"),
    _grant("REFERENCES", "{a}.customers", "{a}_rw"),
    _grant("USAGE", "SEQUENCE {b}.numbers", "PUBLIC"),
    _grant("EXECUTE", "FUNCTION {b}.secret_of()", "PUBLIC"),
    Mutant("row security off", "ALTER TABLE {b}.customers DISABLE ROW LEVEL SECURITY",
           "ALTER TABLE {b}.customers ENABLE ROW LEVEL SECURITY"),
    Mutant("row security not forced", "ALTER TABLE {b}.customers NO FORCE ROW LEVEL SECURITY",
           "ALTER TABLE {b}.customers FORCE ROW LEVEL SECURITY"),
    Mutant("row security off on a partition", "ALTER TABLE {b}.events_2026 DISABLE ROW LEVEL SECURITY",
           "ALTER TABLE {b}.events_2026 ENABLE ROW LEVEL SECURITY"),
    Mutant("policy dropped", "DROP POLICY tenant_rw ON {b}.customers",
           "CREATE POLICY tenant_rw ON {b}.customers TO {b}_owner, {b}_rw USING (true) WITH CHECK (true)"),
    Mutant("read policy dropped", "DROP POLICY tenant_ro ON {b}.customers",
           "CREATE POLICY tenant_ro ON {b}.customers FOR SELECT TO {b}_ro USING (true)"),
    Mutant("policy for another", "CREATE POLICY mutant ON {b}.customers TO {a}_rw USING (true)",
           "DROP POLICY mutant ON {b}.customers"),
    Mutant("table of a login", "ALTER TABLE {a}.customers OWNER TO {a}_rw_a", "ALTER TABLE {a}.customers OWNER TO {a}_owner"),
    Mutant("schema of a login", "ALTER SCHEMA {a} OWNER TO {a}_rw_a", "ALTER SCHEMA {a} OWNER TO {a}_owner"),
    Mutant("a superuser's view", "CREATE VIEW {a}.mutant AS SELECT name FROM {b}.customers; GRANT SELECT ON {a}.mutant TO {a}_rw",
           "DROP VIEW {a}.mutant"),
    Mutant("a superuser's function",
           "CREATE FUNCTION {a}.mutant() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT name FROM {b}.customers LIMIT 1'",
           "DROP FUNCTION {a}.mutant()"),
    Mutant("default privileges for all", "ALTER DEFAULT PRIVILEGES FOR ROLE {b}_owner GRANT SELECT ON TABLES TO PUBLIC",
           "ALTER DEFAULT PRIVILEGES FOR ROLE {b}_owner REVOKE SELECT ON TABLES FROM PUBLIC"),
    Mutant("default privileges of functions",
           "ALTER DEFAULT PRIVILEGES FOR ROLE {b}_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
           "ALTER DEFAULT PRIVILEGES FOR ROLE {b}_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"),
    # Roles.
    *(_member(group) for group in ("{b}_rw", "{b}_ro", "{b}_owner", "{a}_owner", "{b}_rw_a", "cp_operator", "cp_owners",
                                   "pg_read_all_data", "pg_write_all_data", "pg_monitor", "pg_read_server_files",
                                   "pg_signal_backend", "pg_execute_server_program", "{operator}")),
    _member("pg_read_all_data", "cp_tenants"),
    *(_attribute(name) for name in ("SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS")),
    Mutant("owner can log in", "ALTER ROLE {b}_owner LOGIN", "ALTER ROLE {b}_owner NOLOGIN"),
    Mutant("no connection limit", "ALTER ROLE {a}_rw_a CONNECTION LIMIT -1", "ALTER ROLE {a}_rw_a CONNECTION LIMIT {limit}"),
    Mutant("no limit of temporary files", "ALTER ROLE {a}_rw_a SET temp_file_limit = -1",
           "ALTER ROLE {a}_rw_a SET temp_file_limit = '{temp}'"),
    Mutant("another search_path", "ALTER ROLE {b}_rw_a IN DATABASE {db} SET search_path = {a}",
           "ALTER ROLE {b}_rw_a IN DATABASE {db} SET search_path = {b}"),
    # The database.
    _grant("CONNECT", "DATABASE {db}", "PUBLIC"),
    _grant("CONNECT", "DATABASE {other}", "{a}_rw_a"),
    _grant("CONNECT", "DATABASE {other}", "cp_tenants"),
    _grant("CONNECT", "DATABASE {db}", "cp_tenants"),
    _member("{other_group}"),
    _grant("TEMPORARY", "DATABASE {db}", "PUBLIC"),
    _grant("TEMPORARY", "DATABASE {db}", "cp_tenants"),
    _grant("USAGE", "SCHEMA public", "PUBLIC"),
    _grant("CREATE", "SCHEMA public", "cp_tenants"),
    _grant("USAGE", "LANGUAGE plpgsql", "PUBLIC"),
    _grant("USAGE", "LANGUAGE sql", "cp_tenants"),
    _grant("SELECT", "public.registry", "cp_tenants"),
    _grant("EXECUTE", "FUNCTION cp.take_owner(text)", "PUBLIC"),
    _grant("USAGE", "SCHEMA cp", "cp_tenants"),
    _grant("SELECT", "extensions.pg_stat_statements", "PUBLIC"),
    *(_grant("SELECT", f"pg_catalog.{name}", "PUBLIC") for name in (
        "pg_class", "pg_proc", "pg_namespace", "pg_attrdef", "pg_description", "pg_roles", "pg_stat_activity", "pg_policy",
        "pg_enum", "pg_auth_members", "pg_database", "pg_locks", "pg_stat_all_tables", "pg_db_role_setting")),
    _grant("SELECT (typdefault)", "pg_catalog.pg_type", "PUBLIC"),
    *(_grant("EXECUTE", f"FUNCTION pg_catalog.{name}", "PUBLIC") for name in (
        "pg_get_viewdef(oid)", "pg_get_functiondef(oid)", "pg_notify(text, text)", "pg_try_advisory_lock(bigint)",
        "lo_create(oid)", "pg_relation_size(regclass, text)", "pg_stat_get_live_tuples(oid)", "pg_current_wal_lsn()",
        "pg_export_snapshot()", "pg_blocking_pids(integer)", "pg_read_file(text)",
        "pg_ls_dir(text)")),
    Mutant("large objects open", "GRANT EXECUTE ON FUNCTION pg_catalog.lo_get(oid) TO PUBLIC; GRANT SELECT ON LARGE OBJECT {lo} TO PUBLIC",
           "REVOKE EXECUTE ON FUNCTION pg_catalog.lo_get(oid) FROM PUBLIC; REVOKE SELECT ON LARGE OBJECT {lo} FROM PUBLIC"),
    # The guard.
    Mutant("no guard", "ALTER EVENT TRIGGER tenant_guard DISABLE", "ALTER EVENT TRIGGER tenant_guard ENABLE"),
    Mutant("no guard on drops", "ALTER EVENT TRIGGER tenant_guard_drop DISABLE", "ALTER EVENT TRIGGER tenant_guard_drop ENABLE"),
    Mutant("a guard that looks away", "ALTER FUNCTION cp.guard_findings(text) RENAME TO guard_findings_mutant; "
           "CREATE FUNCTION cp.guard_findings(schema_name text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'; "
           "REVOKE ALL ON FUNCTION cp.guard_findings(text) FROM PUBLIC",
           "DROP FUNCTION cp.guard_findings(text); ALTER FUNCTION cp.guard_findings_mutant(text) RENAME TO guard_findings"),
)  # fmt: skip
