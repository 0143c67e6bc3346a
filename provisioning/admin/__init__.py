"""Tenants, plans, templates and slots in the admin."""

from provisioning.admin import plans, slots, templates, tenants

__all__ = ["plans", "slots", "templates", "tenants"]
