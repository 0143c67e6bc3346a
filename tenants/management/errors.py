"""What a command says when it could not do what it was asked to, and the exit code that goes with it."""

from __future__ import annotations

import traceback
from enum import IntEnum
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError

from tenants.exceptions import (
    Cancelled,
    ClusterBusy,
    ClusterError,
    ClusterUnavailable,
    ControlPlaneError,
    InvalidInput,
    TemplateRefused,
)

MAX_STATEMENT_LINES = 12
MAX_LINE = 160


class ExitCode(IntEnum):
    """What a script can tell from a command's end; `EXIT_CODES` says it to people."""

    OK = 0
    UNEXPECTED = 1
    INVALID = 2
    CONFLICT = 3
    NOT_FOUND = 4
    UNAVAILABLE = 5
    REFUSED = 6
    UNFINISHED = 7
    TAMPERED = 8
    WARNING = 9
    CRITICAL = 10
    UNKNOWN = 11
    INTERRUPTED = 130


EXIT_CODES = """\
exit codes:
  0  done
  1  something unexpected went wrong
  2  wrong usage or an unacceptable value; nothing was changed
  3  the present state does not allow it, or somebody else is at it
  4  there is no such object
  5  a cluster cannot be reached, is busy, or cannot be used
  6  the template was refused
  7  not finished in time; the operation goes on
  8  the audit log is not what was written
  9, 10, 11  a tenant's health is warning, critical, unknown
  130  interrupted (Ctrl-C); an operation that a worker has goes on
"""

_BY_STATUS = {
    400: ExitCode.INVALID,
    403: ExitCode.INVALID,
    422: ExitCode.INVALID,
    404: ExitCode.NOT_FOUND,
} | dict.fromkeys((409, 410, 412), ExitCode.CONFLICT)
# Of operations that a worker carried out only the code of the error is known.
_BY_CODE = {
    **dict.fromkeys((ClusterError.code, ClusterUnavailable.code, ClusterBusy.code), ExitCode.UNAVAILABLE),
    TemplateRefused.code: ExitCode.REFUSED,
    Cancelled.code: ExitCode.CONFLICT,
}


class StillRunning(ControlPlaneError):
    """The operation was not finished in time; it goes on."""

    code, status = "still_running", 504


class TamperingFound(ControlPlaneError):
    """The audit log is not what was written."""

    code, status = "audit_log_broken", 500


class NotWell(ControlPlaneError):
    """A tenant's health is not ok."""

    code, status = "tenant_not_well", 500


class OperationFailed(ControlPlaneError):
    """The operation failed."""

    code, status = "operation_failed", 500


class CommandFailed(CommandError):
    """Django's error of a command, with ours in it."""

    def __init__(self, error: ControlPlaneError) -> None:
        super().__init__(str(error), returncode=int(exit_code(error)))
        self.error = error


def exit_code(error: ControlPlaneError) -> ExitCode:
    """The exit code that tells of this error."""
    if isinstance(error, TemplateRefused):
        return ExitCode.REFUSED
    if isinstance(error, ClusterError):
        return ExitCode.UNAVAILABLE
    if isinstance(error, StillRunning):
        return ExitCode.UNFINISHED
    if isinstance(error, TamperingFound):
        return ExitCode.TAMPERED
    if isinstance(error, NotWell):
        return ExitCode[str(error.extra["health"]).upper()]
    return _BY_CODE.get(error.code) or _BY_STATUS.get(error.status, ExitCode.UNEXPECTED)


def understand(error: Exception) -> ControlPlaneError:
    """Our exception for anything that may come out of a command; `__cause__` of what nobody foresaw is kept."""
    if isinstance(error, ControlPlaneError):
        return error
    if isinstance(error, ProgrammingError) and "does not exist" in str(error):
        return ControlPlaneError(
            "The control plane's own database lacks tables.", code="not_migrated", hint="Run manage.py migrate."
        )
    if isinstance(error, OperationalError | InterfaceError):
        return ClusterUnavailable(
            "The control plane's own database does not answer.", hint="Is PostgreSQL running? See DATABASE_URL."
        )
    kind = "database error" if isinstance(error, DatabaseError) else "error"
    return ControlPlaneError(
        f"Unexpected {kind}: {type(error).__name__}{_where(error)}.",
        code="internal_error",
        hint="Run it again with --traceback to see where.",
    )


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def problem(error: ControlPlaneError) -> dict[str, Any]:
    """The error as one JSON object, in the words of the REST interface's problems."""
    body = {
        "code": error.code,
        "status": error.status,
        "detail": error.message,
        "hint": error.hint,
        "exit_code": int(exit_code(error)),
        **error.extra,
    }
    if isinstance(error, TemplateRefused):
        body["reason"] = error.reason
    if isinstance(error, InvalidInput) and error.field:
        body["field"] = error.field
    return {name: value for name, value in body.items() if value is not None}


def explain(error: ControlPlaneError) -> str:
    """The error as people read it: what, where, and what to do next."""
    if isinstance(error, TemplateRefused):
        return _explain_refusal(error)
    lines = [f"error: {error.message}"]
    if operation := error.extra.get("operation"):
        lines.append(f"  operation: {operation}")
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)


def _explain_refusal(error: TemplateRefused) -> str:
    where = f"{error.file}:{error.line}" if error.file and error.line else error.file
    lines = ["error: The template was refused."]
    if where:
        lines.append(f"  at: {where}")
    if error.statement:
        statement = error.statement.strip().splitlines()
        lines += [f"    {line[:MAX_LINE]}" for line in statement[:MAX_STATEMENT_LINES]]
        if len(statement) > MAX_STATEMENT_LINES:
            lines.append(f"    … {len(statement) - MAX_STATEMENT_LINES} more lines")
    lines.append(f"  reason: {error.reason}")
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)
