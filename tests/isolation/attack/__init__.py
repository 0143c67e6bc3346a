"""The attack suite: what one tenant can try on another, each with a control that shows it could have worked."""

from tests.isolation.attack import disturb, leaks, rights, rows
from tests.isolation.attack.probe import NEVER, Probe

PROBES: tuple[Probe, ...] = (*rows.PROBES, *rights.PROBES, *leaks.PROBES, *disturb.PROBES)

__all__ = ["NEVER", "PROBES", "Probe"]
