"""Every error a caller can act on. The docstring is the default message; `hint` says what to do next."""

from __future__ import annotations

from typing import Any


class ControlPlaneError(Exception):
    """The request could not be carried out."""

    code = "error"
    status = 500

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        hint: str | None = None,
        **extra: Any,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.hint = hint
        self.extra = extra
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class InvalidInput(ControlPlaneError):
    """A value is not acceptable."""

    code, status = "invalid", 400

    def __init__(self, message: str | None = None, *, field: str | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.field = field


class NotFound(ControlPlaneError):
    """There is no such object."""

    code, status = "not_found", 404


class Conflict(ControlPlaneError):
    """The object's present state does not allow this."""

    code, status = "conflict", 409


class PreconditionFailed(ControlPlaneError):
    """The object has changed since you read it."""

    code, status = "stale", 412


class PermissionRefused(ControlPlaneError):
    """You may not do this."""

    code, status = "forbidden", 403


class SecretUnreadable(ControlPlaneError):
    """A stored secret cannot be decrypted with the configured keys."""

    code, status = "secret_unreadable", 500


class ClusterError(ControlPlaneError):
    """The PostgreSQL cluster refused a statement."""

    code, status = "cluster_error", 502

    def __init__(self, message: str | None = None, *, sqlstate: str | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.sqlstate = sqlstate


class ClusterUnavailable(ClusterError):
    """The PostgreSQL cluster cannot be reached."""

    code, status = "cluster_unavailable", 503


class ClusterBusy(ClusterError):
    """The PostgreSQL cluster did not answer in time (lock, timeout or connection slots)."""

    code, status = "cluster_busy", 503


class ClusterUnusable(ClusterError):
    """The PostgreSQL cluster does not meet the requirements."""

    code, status = "cluster_unusable", 422


class TemplateRefused(ControlPlaneError):
    """The template cannot be cloned exactly."""

    code, status = "template_refused", 422

    def __init__(
        self,
        *,
        reason: str,
        file: str | None = None,
        line: int | None = None,
        statement: str | None = None,
        hint: str | None = None,
    ) -> None:
        where = f"{file}:{line}: " if file and line else (f"{file}: " if file else "")
        super().__init__(where + reason, hint=hint, file=file, line=line, statement=statement)
        self.reason, self.file, self.line, self.statement = reason, file, line, statement


class CloneMismatch(ControlPlaneError):
    """The clone's fingerprint differs from its template version's."""

    code, status = "clone_mismatch", 500


class LeaseLost(ControlPlaneError):
    """Another worker has taken this operation over."""

    code, status = "lease_lost", 409


class Cancelled(ControlPlaneError):
    """The operation was cancelled."""

    code, status = "cancelled", 409
