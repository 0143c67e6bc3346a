"""The proof that tenants are kept apart: by the catalog for all of them, by trying with some tenants' own logins."""

from provisioning.isolation.check import check_all, check_isolation, probe_new_tenants

__all__ = ["check_all", "check_isolation", "probe_new_tenants"]
