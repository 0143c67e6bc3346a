"""Measuring the audit log: what writing, sealing, verifying and reading it cost."""
