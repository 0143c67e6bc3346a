"""Tenants, plans, templates and slots in the admin."""

from provisioning.admin import isolation, plans, purges, slots, templates, tenants

__all__ = ["isolation", "plans", "purges", "slots", "templates", "tenants"]
