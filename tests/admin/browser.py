"""A real browser, and people in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright import sync_api as playwright

from tests.admin.support import PASSWORD

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium; nothing is downloaded."""
    # Playwright's own event loop makes Django believe it is in async code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Visitor:
    """A signed-in page that notes errors, and requests to anywhere else."""

    def __init__(self, page: Any, base: str) -> None:
        self.page, self.base = page, base
        self.strangers: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._look)
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", lambda response: response.status >= 400 and self.errors.append(response.url))

    def _look(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.strangers.append(request.url)

    def go(self, path: str) -> Any:
        """Open a page of the admin."""
        return self.page.goto(self.base + path, wait_until="load")


@pytest.fixture
def visit(chromium: Any, server: Any, person: Callable[..., Any]) -> Iterator[Callable[..., Visitor]]:
    """`visit("operator")`: a browser page, signed in through the login form as a new person of that group."""
    contexts = []

    def make(group: str, **options: Any) -> Visitor:
        context = chromium.new_context(viewport={"width": 1440, "height": 900}, **options)
        contexts.append(context)
        visitor = Visitor(context.new_page(), server.url)
        visitor.page.set_default_timeout(20_000)
        visitor.page.goto(f"{server.url}/admin/")
        visitor.page.fill("#id_username", person(group, password=PASSWORD).username)
        visitor.page.fill("#id_password", PASSWORD)
        visitor.page.click("#login-form button[type=submit]")
        visitor.page.wait_for_url(re.compile(r"/admin/$"))
        return visitor

    yield make
    for context in contexts:
        context.close()
