"""One id for each request, and no HTML for machines."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from controlplane.problems import PROBLEM_JSON, problem_for, problem_of_status

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
MACHINE_PATHS = ("/api/", "/healthz", "/readyz", "/metrics", "/problems")


class ProblemMiddleware:
    """Gives the request its id (the caller's X-Request-ID when it is a sane one), and turns what Django itself
    answers to machines' paths (unknown paths, refused hosts, CSRF, crashes) into problem+json."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer, with X-Request-ID."""
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if REQUEST_ID.match(given) else str(uuid.uuid4())
        request.META["HTTP_X_REQUEST_ID"] = request_id  # django-structlog takes it from there
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        if response.status_code >= 400 and self._needs_problem(request, response):
            response = problem_of_status(request, response)
        response["X-Request-ID"] = request_id
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """What a view of a machine's path raised, as a problem; other paths are left to Django."""
        return problem_for(request, exception) if request.path.startswith(MACHINE_PATHS) else None

    def _needs_problem(self, request: HttpRequest, response: HttpResponse) -> bool:
        kind = response.get("Content-Type", "").partition(";")[0]
        return request.path.startswith(MACHINE_PATHS) and kind not in (PROBLEM_JSON, "application/json")
