"""Tenants, plans, templates and slots in the admin."""

from provisioning.admin import plans, purges, slots, templates, tenants

__all__ = ["plans", "purges", "slots", "templates", "tenants"]
