"""Backups, policies and storages in the admin."""

from backups.admin import backups, policies, storages

__all__ = ["backups", "policies", "storages"]
