"""The base of all views: who may, how often, with which parameters, and only once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework import exceptions
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.exceptions import ControlPlaneError, NotFound
from tenants.models import ApiKey
from tenants.recent import is_recent
from tenants.rest import denials, idempotency
from tenants.rest.context import bound_tenant
from tenants.rest.fields import represent, validate
from tenants.rest.filters import known_parameters, refuse_unknown
from tenants.rest.throttling import anonymous_wait

Needed = Mapping[str, str | tuple[str, ...]]


class ApiView(GenericAPIView[Any]):
    """One resource. Subclasses name by method the API key's scope and the member of staff's permission."""

    http_method_names = ["get", "head", "post", "patch", "delete"]
    required_scopes: Needed = {}
    required_permissions: Needed = {}
    query_parameters: frozenset[str] = frozenset()
    # Methods for which a person (not a key) must have shown their password within the last five minutes.
    confirmed_methods: frozenset[str] = frozenset()
    # The lookup from this view's rows to their tenant; None closes the view to keys that are bound to one.
    tenant_lookup: str | None = None
    # How the caller is told that a row does not exist.
    noun = "object"
    paginated = False
    ordering: tuple[str, ...] = ("id",)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """As in REST framework, with POSTs that carry an Idempotency-Key done once."""
        self.args, self.kwargs = args, kwargs
        request = self.initialize_request(request, *args, **kwargs)
        self.request = request
        self.headers = self.default_response_headers
        try:
            self.initial(request, *args, **kwargs)
            response = self._respond_once(request)
        except Exception as error:
            response = self.handle_exception(error)
        self.response = self.finalize_response(request, response, *args, **kwargs)
        return self.response

    def _respond_once(self, request: Request) -> Response:
        name = str(request.method).lower()
        known = name in self.http_method_names
        handler = getattr(self, name, self.http_method_not_allowed) if known else self.http_method_not_allowed
        key = idempotency.key_of(request) if name == "post" and known else None
        if key is None:
            return handler(request, *self.args, **self.kwargs)

        def respond() -> Response:
            try:
                return handler(request, *self.args, **self.kwargs)
            except Exception as error:
                return self.handle_exception(error)

        return idempotency.run(request, key, respond, lambda earlier: self.recover(request, earlier))

    def recover(self, request: Request, earlier: tuple[str, ...]) -> Response | None:
        """The answer for work that requests with these ids began before they died; None to begin anew."""
        return None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Everything that can be refused before the body is read. Raises what it is refused with."""
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        self.perform_authentication(request)
        self.check_throttles(request)
        self.check_permissions(request)
        self._check_confirmed(request)
        self._check_binding(request)
        if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
            raise ControlPlaneError("Send the body with a Content-Length.", code="length_required", status=411)
        if hasattr(self, str(request.method).lower()):  # for other methods there is the 405
            refuse_unknown(request.query_params, self._known_parameters(request))

    def _check_confirmed(self, request: Request) -> None:
        if request.method in self.confirmed_methods:
            self.require_confirmed(request)

    def require_confirmed(self, request: Request) -> None:
        """Refuses a person who has not shown their password within the last five minutes."""
        if request.user is not None and not isinstance(request.auth, ApiKey) and not is_recent(request):
            self.permission_denied(
                request, "Confirm in the admin that it is you; this holds for five minutes.", "confirmation_required"
            )

    def _check_binding(self, request: Request) -> None:
        """A key that is bound to a tenant sees what is missing and what is another's in the same way: not at all."""
        if bound_tenant(request) is None or str(request.method).lower() not in self.http_method_names:
            return
        if self.tenant_lookup is None or (request.method == "POST" and "pk" not in self.kwargs):
            self.permission_denied(request, "This API key is bound to one tenant.", "tenant_bound_key")
        pk = self.kwargs.get("pk")
        if pk is not None and not self.get_queryset().filter(pk=pk).exists():
            raise NotFound(f"There is no {self.noun} {pk}.")

    def get_queryset(self) -> QuerySet[Any]:
        """The view's rows; for a key that is bound to a tenant those of that tenant."""
        rows = super().get_queryset()
        bound = bound_tenant(self.request)
        if bound is None:
            return rows
        return rows.filter(**{self.tenant_lookup: bound}) if self.tenant_lookup else rows.none()

    def _known_parameters(self, request: Request) -> set[str]:
        return known_parameters(self) if request.method in ("GET", "HEAD") else set(self.query_parameters)

    def handle_exception(self, exc: Exception) -> Response:
        """The problem for `exc`; refusals are written into the audit log first."""
        if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
            seconds = anonymous_wait(self.request)
            self._note(exc)
            if seconds is not None:
                exc = exceptions.Throttled(seconds)
        elif isinstance(exc, exceptions.PermissionDenied):
            self._note(exc)
        return super().handle_exception(exc)

    def _note(self, exc: exceptions.APIException) -> None:
        code = str(getattr(exc.detail, "code", exc.default_code))
        denials.record_denial(self.request, code=code, reason=str(exc.detail))

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Response:
        """As in REST framework; what is not meant to be kept is kept by nobody."""
        final = super().finalize_response(request, response, *args, **kwargs)
        final.headers.setdefault("Cache-Control", "no-store")
        return final

    def list_page(self, request: Request) -> Response:
        """A page of this view's rows, filtered and represented."""
        serializer: Any = self.get_serializer_class()
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response([represent(serializer, row) for row in rows])

    def valid_body(self, serializer: type[Any], request: Request) -> dict[str, Any]:
        """The body as `serializer` validates it. Raises ValidationError."""
        return validate(serializer, request.data)
