"""The registry in the admin."""

from tenants.admin import accounts, api_keys, audit, clusters, operations

__all__ = ["accounts", "api_keys", "audit", "clusters", "operations"]
