"""PgBouncer in front of a cluster: registered, configured from plans, watched, and told when a login is closed.

What tenants may do with it stands in `pgbouncer.ini` (the same everywhere), how a tenant's verifier is looked up in
`pooler.sql` (run by a superuser), and what depends on tenants in the included file that `config` writes.
"""

from tenants.pooling.config import (
    Applied,
    included_text,
    main_text,
    sync_all,
    sync_pooler,
    sync_soon,
)
from tenants.pooling.console import Pool, Stats, Traffic, read_traffic
from tenants.pooling.direct import Answer, advice, hba_lines, note_direct, set_direct
from tenants.pooling.registry import (
    check_all,
    check_pooler,
    ensure_default_pooler,
    register_pooler,
    remove_pooler,
)
from tenants.pooling.sessions import await_logins, end_clients

__all__ = [
    "Answer",
    "Applied",
    "Pool",
    "Stats",
    "Traffic",
    "advice",
    "await_logins",
    "check_all",
    "check_pooler",
    "end_clients",
    "ensure_default_pooler",
    "hba_lines",
    "included_text",
    "main_text",
    "note_direct",
    "read_traffic",
    "register_pooler",
    "remove_pooler",
    "set_direct",
    "sync_all",
    "sync_pooler",
    "sync_soon",
]
