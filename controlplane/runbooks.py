"""The runbooks of docs/runbooks/ as pages of the admin: whoever is woken by an alert reads them where it is."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

DIRECTORY = Path("docs", "runbooks")
_LINK = re.compile(r'href="([a-z0-9-]+)\.md(#[^"]*)?"')
_ELSEWHERE = re.compile(r'<a href="(?:\.\./)+([^"#]+\.md)[^"]*">(.*?)</a>')


def pages() -> dict[str, Path]:
    """The pages by slug."""
    return {file.stem: file for file in sorted((settings.BASE_DIR / DIRECTORY).glob("*.md"))}


@functools.lru_cache(maxsize=64)
def rendered(file: Path, modified: int) -> tuple[str, SafeString]:
    """A page's title and its HTML. HTML in the text stays text; links to other pages lead to them, the rest of
    the documentation is named."""
    text = file.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(rest)
    html = _LINK.sub(r'class="cp-link" href="\1\2"', html).replace("<table>", '<table class="cp-table">')
    html = _ELSEWHERE.sub(r"\2 (<code>docs/\1</code>)", html)
    html = html.replace("<pre>", '<pre class="cp-code">')
    return first.lstrip("# ").strip(), mark_safe(html)  # noqa: S308  (our own file, and HTML in it is escaped)


def runbook(request: HttpRequest, slug: str) -> HttpResponse:
    """One of them. Raises Http404."""
    file = pages().get(slug)
    if file is None:
        raise Http404
    title, html = rendered(file, file.stat().st_mtime_ns)
    context = {**admin.site.each_context(request), "title": title, "html": html}
    return TemplateResponse(request, "controlplane/runbook.html", context)


def index(request: HttpRequest) -> HttpResponse:
    """All of them."""
    every = [(slug, rendered(file, file.stat().st_mtime_ns)[0]) for slug, file in pages().items()]
    context = {**admin.site.each_context(request), "title": "Runbooks", "pages": every}
    return TemplateResponse(request, "controlplane/runbook.html", context)


def runbook_urls(site: admin.AdminSite) -> list[URLPattern]:
    """Their addresses, below the admin's."""
    return [
        path("runbooks", site.admin_view(index), name="runbooks"),
        path("runbooks/<slug:slug>", site.admin_view(runbook), name="runbook"),
    ]
