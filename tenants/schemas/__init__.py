"""A tenant's schema on its cluster: its roles, its objects, and the compiler that turns any schema into a clone script.

Primitives on an open connection. They know nothing of operations or of what an operator may do.
"""

from tenants.schemas.ddl import DROP_BATCH, clone, drop, exists

__all__ = ["DROP_BATCH", "clone", "drop", "exists"]
