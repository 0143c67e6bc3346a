"""The audit log as evidence: sealed into a chain, signed at intervals, verified from outside the database."""
