"""Taking the log's tables out of the control plane's own hands, where a superuser has prepared that."""

from __future__ import annotations

from django.db import connection


def protect() -> bool:
    """Give the tables to a role that nobody is. Returns whether they are; never where no superuser has helped.

    From then on the control plane's login can only add and read. The functions that do this, and the one by which a
    superuser takes it back for a migration, are in tenants/prepare.sql.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT has_schema_privilege(n.oid, 'USAGE') AND to_regprocedure('cp.protect_audit_log()') IS NOT NULL "
            "FROM pg_namespace n WHERE n.nspname = 'cp'"
        )
        if cursor.fetchone() != (True,):
            return False
        cursor.execute("SELECT cp.protect_audit_log()")
        return bool(cursor.fetchone()[0])
