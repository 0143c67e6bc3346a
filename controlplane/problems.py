"""RFC 9457: every error as `application/problem+json`, with a stable type and code and nothing internal."""

from __future__ import annotations

import http
import logging
import math
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from rest_framework import exceptions as rest
from rest_framework.response import Response

from controlplane.problem_catalogue import title_of, type_of
from tenants.exceptions import ClusterError, ClusterUnusable, ControlPlaneError, InvalidInput
from tenants.rest.context import request_id

log = logging.getLogger(__name__)
PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = 5
# DRF's own codes, where ours are clearer.
CODES = {"parse_error": "malformed_body", "error": "invalid", "permission_denied": "forbidden"}

Problem = tuple[int, str, str, dict[str, Any], dict[str, str]]  # status, code, detail, members, headers


def build(request: Any, status: int, code: str, detail: str, members: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of a problem."""
    body = {
        "type": type_of(code),
        "title": title_of(code) or http.HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": request.path,
        "request_id": request_id(request),
    }
    extra = {name: value for name, value in (members or {}).items() if name not in body and value is not None}
    return {**body, **extra}


def _field_errors(detail: Any, path: str = "") -> list[dict[str, str]]:
    """DRF's nested errors as a flat list that names each field by its path."""
    if isinstance(detail, dict):
        return [e for name, item in detail.items() for e in _field_errors(item, _join(path, str(name)))]
    if isinstance(detail, list):
        nested = any(isinstance(item, dict) for item in detail)
        return [
            e for i, item in enumerate(detail) for e in _field_errors(item, _join(path, str(i)) if nested else path)
        ]
    return [{"field": path, "message": str(detail), "code": str(getattr(detail, "code", "invalid"))}]


def _join(path: str, name: str) -> str:
    if name == "non_field_errors":
        return path
    return f"{path}.{name}" if path else name


def _of_control_plane(error: ControlPlaneError) -> Problem:
    members: dict[str, Any] = {**error.extra, "hint": error.hint}
    headers = {}
    seconds = members.pop("retry_after", RETRY_SECONDS if error.status == 503 else None)
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    detail = error.message
    if isinstance(error, ClusterError) and not isinstance(error, ClusterUnusable):
        # The server's own words can name hosts, roles and objects: they are for the log.
        log.warning("cluster.error", extra={"code": error.code, "error": error.message, "sqlstate": error.sqlstate})
        detail = (type(error).__doc__ or "").strip()
    if isinstance(error, InvalidInput) and error.field:
        members["errors"] = [{"field": error.field, "message": error.message, "code": error.code}]
    return error.status, error.code, detail, members, headers


def _of_validation(error: rest.ValidationError) -> Problem:
    errors = _field_errors(error.detail)
    detail = f"{errors[0]['field']}: {errors[0]['message']}" if len(errors) == 1 else "Some values are not acceptable."
    return 400, "invalid", detail.removeprefix(": "), {"errors": errors}, {}


def _of_rest(error: rest.APIException) -> Problem:
    if isinstance(error, rest.ValidationError):
        return _of_validation(error)
    code = str(getattr(error.detail, "code", error.default_code))
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, rest.Throttled):
        headers["Retry-After"] = str(max(1, math.ceil(getattr(error, "wait", None) or 1)))
    return error.status_code, CODES.get(code, code), str(error.detail), {}, headers


def _of_database(error: DatabaseError | InterfaceError) -> Problem:
    if isinstance(error, IntegrityError):
        log.warning("database.conflict", extra={"error": str(error).splitlines()[0]})
        hint = "Read what is there now, then decide again."
        return 409, "conflict", "Another request changed this at the same time.", {"hint": hint}, {}
    log.error("database.unavailable", extra={"error": type(error).__name__})
    retry = {"Retry-After": str(RETRY_SECONDS)}
    return 503, "database_unavailable", "The registry's database does not answer.", {}, retry


def _of_django(error: Exception) -> Problem | None:
    if isinstance(error, Http404):
        return 404, "not_found", "There is nothing here.", {}, {}
    if isinstance(error, PermissionDenied):
        return 403, "forbidden", "You may not do this.", {}, {}
    if isinstance(error, RequestDataTooBig):
        return 413, "body_too_large", "The body is too large.", {}, {}
    if isinstance(error, UnreadablePostError):
        return 400, "malformed_body", "The body ended early.", {}, {}
    if isinstance(error, SuspiciousOperation):
        return 400, "bad_request", "The request is malformed.", {}, {}
    return None


def classify(error: Exception) -> Problem:
    """What to answer to `error`. What nobody foresaw is logged with its traceback and answered as a bare 500."""
    if isinstance(error, ControlPlaneError):
        return _of_control_plane(error)
    if isinstance(error, rest.APIException):
        return _of_rest(error)
    if isinstance(error, IntegrityError | OperationalError | InterfaceError):
        return _of_database(error)
    if (known := _of_django(error)) is not None:
        return known
    log.error("request.failed", exc_info=error, extra={"error": type(error).__name__})
    return 500, "internal_error", "Something went wrong here. It was noted under this request's id.", {}, {}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook."""
    status, code, detail, members, headers = classify(error)
    body = build(context["request"], status, code, detail, members)
    return Response(body, status=status, headers=headers, content_type=PROBLEM_JSON)


def problem_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """A problem outside of DRF's views."""
    status, code, detail, members, headers = problem
    body = orjson.dumps(build(request, status, code, detail, members), default=str)
    return HttpResponse(
        body, status=status, headers={"Cache-Control": "no-store", **headers}, content_type=PROBLEM_JSON
    )


def problem_for(request: HttpRequest, error: Exception) -> HttpResponse:
    """The problem for an exception outside of DRF's views."""
    return problem_response(request, classify(error))


_BY_STATUS = {
    400: ("bad_request", "The request is malformed."),
    403: ("forbidden", "You may not do this."),
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This method is not allowed here."),
    413: ("body_too_large", "The body is too large."),
    500: ("internal_error", "Something went wrong here. It was noted under this request's id."),
}


def problem_of_status(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The problem in place of an error page that Django made; its telling headers stay."""
    status = response.status_code
    code, detail = _BY_STATUS.get(status, ("error", http.HTTPStatus(status).description or "The request failed."))
    headers = {name: response[name] for name in ("Allow", "Retry-After", "WWW-Authenticate") if name in response}
    return problem_response(request, (status, code, detail, {}, headers))
