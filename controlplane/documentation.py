"""The interface's description, for programs and for people, without a request to another host."""

from __future__ import annotations

import functools
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response


@functools.cache
def description() -> dict[str, Any]:
    """The OpenAPI document; it cannot change while the process lives."""
    return SchemaGenerator().get_schema(request=None, public=True)


class SchemaView(SpectacularAPIView):
    """OpenAPI 3, as JSON or YAML (by Accept)."""

    throttle_classes = []

    def _get_schema_response(self, request: Request) -> Response:
        return Response(description())


class DocumentationView(SpectacularSwaggerSplitView):
    """Swagger UI, served from here; its script is an address of its own, so that nothing inline has to be allowed."""

    template_name = "controlplane/swagger.html"

    throttle_classes = []
