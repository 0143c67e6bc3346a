"""Backups, policies and storages in the admin."""

from backups.admin import backups, policies, restores, storages

__all__ = ["backups", "policies", "restores", "storages"]
