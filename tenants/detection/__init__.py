"""Attempts of tenants at what is not theirs, from the servers' logs, within seconds."""

from tenants.detection.collect import read_log
from tenants.detection.watch import watch_all

__all__ = ["read_log", "watch_all"]
