"""A small HTTP client for the REST interface, in process."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from tests.support.fixtures import ACTOR, SOURCE


class ApiClient:
    """Django's test client with an API key and JSON bodies."""

    def __init__(self, key: str = "", **defaults: Any) -> None:
        """`key` is the clear API key; `defaults` are WSGI variables."""
        if key:
            defaults["HTTP_AUTHORIZATION"] = f"Api-Key {key}"
        self.key = key
        self.http = Client(raise_request_exception=False, **defaults)

    @classmethod
    def with_scopes(cls, *scopes: str, **options: Any) -> ApiClient:
        """A client with a new key that has these scopes; all of them when none is named."""
        from tenants.api_keys import create_api_key
        from tenants.models.access import Scope

        row, key = create_api_key(name="tests", scopes=scopes or Scope.values, actor=ACTOR, source=SOURCE, **options)
        client = cls(key)
        client.row = row
        return client

    row: Any = None

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """`body` is sent as JSON, or as it is when it is bytes. `headers` as keywords: `if_match="…"`."""
        path = path if path.startswith("/") else f"/api/v1/{path}"
        content = body if isinstance(body, bytes) else (b"" if body is None else json.dumps(body).encode())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content_type = named.pop("content-type", "application/json")
        return self.http.generic(method, path, content, content_type=content_type, headers=named)

    def get(self, path: str, **headers: str) -> Any:
        """GET `path`, relative to /api/v1/."""
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """POST `body` as JSON."""
        return self.request("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Any:
        """PATCH `body` as JSON."""
        return self.request("PATCH", path, body, **headers)

    def delete(self, path: str, body: Any = None, **headers: str) -> Any:
        """DELETE, with an optional JSON body."""
        return self.request("DELETE", path, body, **headers)

    def every(self, path: str) -> list[dict[str, Any]]:
        """All rows of a list, page after page, since tests share the database and fill the first one."""
        rows: list[dict[str, Any]] = []
        url: str | None = f"/api/v1/{path}"
        while url:
            page = self.get(url).json()
            rows += page["results"]
            url = page["next"] and page["next"].removeprefix("http://testserver")
        return rows
