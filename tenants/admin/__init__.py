"""The registry in the admin."""

from tenants.admin import accounts, api_keys, audit, audit_results, clusters, operations

__all__ = ["accounts", "api_keys", "audit", "audit_results", "clusters", "operations"]
