"""Backups, policies and storages in the admin."""

from backups.admin import backups, kept, policies, restores, storages

__all__ = ["backups", "kept", "policies", "restores", "storages"]
