"""What can go wrong around points in time."""

from __future__ import annotations

from tenants.exceptions import Conflict, ControlPlaneError


class PitrUnavailable(ControlPlaneError):
    """Points in time are not to be had here: no archive, or no program that reads one."""

    code, status = "point_in_time_unavailable", 409


class OutOfRange(Conflict):
    """The time cannot be recovered."""

    code = "time_out_of_range"


class RecoveryFailed(ControlPlaneError):
    """The recovery to a point in time failed."""

    code, status = "recovery_failed", 500


class NoSpace(ControlPlaneError):
    """There is too little room on the disk."""

    code, status = "no_space", 507
