"""Ending tenants' sessions that hold others up or exceed their plan, within seconds, whatever they set themselves."""

from tenants.reaping.reaper import Reaped, reap_cluster
from tenants.reaping.watch import watch_all

__all__ = ["Reaped", "reap_cluster", "watch_all"]
