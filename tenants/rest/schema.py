"""OpenAPI: what every operation has in common is added here, so that no view can forget it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

PROBLEM_JSON = ["application/problem+json"]


class FieldErrorSerializer(serializers.Serializer[Any]):
    """What is wrong with one value."""

    field = serializers.CharField(help_text="Path of the field, parameter or header.")
    message = serializers.CharField()
    code = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """An error (RFC 9457). Some codes add members of their own."""

    type = serializers.CharField(help_text="Stable; a path on this server that explains it.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable; what programs should look at.")
    detail = serializers.CharField(help_text="For people.")
    instance = serializers.CharField()
    request_id = serializers.CharField(help_text="Leads to this request in logs and audit events.")
    hint = serializers.CharField(required=False, help_text="What to do next.")
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]


MEANINGS = {
    400: "Something in the request is not acceptable; `errors` names it.",
    401: "No valid credentials.",
    403: "The caller may not do this.",
    404: "There is no such object.",
    405: "The resource has no such method.",
    406: "The answer is JSON.",
    409: "The present state does not allow it, or another request is at it.",
    410: "The credentials were handed out already.",
    411: "The body has no Content-Length.",
    412: "The object has changed since it was read.",
    413: "The body has more than 1 MiB.",
    414: "The URL is too long.",
    415: "The body must be JSON.",
    422: "The Idempotency-Key was used for another request.",
    429: "Too many requests.",
    431: "The headers are too large.",
    500: "An error of ours.",
    502: "The PostgreSQL cluster refused.",
    503: "The PostgreSQL cluster or the registry does not answer.",
}
ALWAYS = (400, 401, 403, 404, 405, 406, 414, 429, 431, 500, 503)
WRITING = (409, 411, 413, 415, 502)
RETRY_AFTER = {"description": "Seconds until it makes sense to try again.", "schema": {"type": "integer"}}
CHALLENGE = {"description": "How to authenticate.", "schema": {"type": "string"}}
ID_HEADER = {"description": "The request's id.", "schema": {"type": "string"}}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


REQUEST_ID = _header(
    "X-Request-ID",
    "Your id for this request, 8 to 64 of `A-Z a-z 0-9 . _ -` (anything else is replaced); it comes back and stands in "
    "logs and audit events.",
)
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "Sent again with the same body, the same answer comes back (with `Idempotency-Replayed: true`) for 24 hours "
    "and nothing is done twice.",
    minLength=1, maxLength=128, pattern="^[\\x21-\\x7e]+$",
)  # fmt: skip


class ProblemAutoSchema(AutoSchema):
    """Adds to each operation its problems and the headers that all have."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation, or None when it is not documented."""
        operation = super().get_operation(*args, **kwargs)
        if operation is None or not hasattr(self.view, "required_scopes"):
            return operation
        operation.setdefault("parameters", []).extend(
            [REQUEST_ID, IDEMPOTENCY_KEY] if self.method == "POST" else [REQUEST_ID]
        )
        for status in self._problem_statuses():
            operation["responses"].setdefault(str(status), self._problem(status))
        for response in operation["responses"].values():
            response.setdefault("headers", {})["X-Request-ID"] = ID_HEADER
        scopes = self.view.required_scopes.get(self.method, ())
        scopes = (scopes,) if isinstance(scopes, str) else scopes
        needed = " or ".join(f"`{scope}`" for scope in scopes)
        operation["description"] = f"{operation.get('description', '')}\n\nScope: {needed}.".strip()
        operation["responses"] = dict(sorted(operation["responses"].items()))
        return operation

    def _problem_statuses(self) -> list[int]:
        statuses = {*ALWAYS, *(WRITING if self.method != "GET" else ()), *(() if self.method != "POST" else (422,))}
        statuses |= set(getattr(self.view, "problem_statuses", {}).get(self.method, ()))
        return sorted(statuses)

    def _problem(self, status: int) -> dict[str, Any]:
        response = self._get_response_for_code(ProblemSerializer, str(status), PROBLEM_JSON)
        response["description"] = MEANINGS[status]
        if status in (429, 503):
            response.setdefault("headers", {})["Retry-After"] = RETRY_AFTER
        if status == 401:
            response.setdefault("headers", {})["WWW-Authenticate"] = CHALLENGE
        return response

    def get_tags(self) -> list[str]:
        """Grouped by what the path begins with."""
        return [self.path.removeprefix("/api/v1/").split("/")[0]]


class ApiKeyScheme(OpenApiAuthenticationExtension):
    """How machines authenticate."""

    target_class = "tenants.rest.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """An Authorization header with a scheme of its own."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key cp_…` (made with `manage.py create_api_key` or in the admin).",
        }


class SessionScheme(OpenApiAuthenticationExtension):
    """How people authenticate who are signed in to the admin."""

    target_class = "tenants.rest.authentication.StaffSessionAuthentication"
    name = "Session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """The session's cookie; writes also need its X-CSRFToken."""
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The admin's session. Writes also need the X-CSRFToken header.",
        }
