"""Probes: each looks at one side of a server by a constant number of statements, however many tenants it has.

They look as the login that may only look (`prepare_cluster` makes it), with short timeouts, and bring typed rows.
"""

from monitoring.probes.statements import Statement, worst_statements

__all__ = ["Statement", "worst_statements"]
