"""Limits hold for the server as a whole, not for each of its processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.api import ApiClient
from tests.support.processes import gunicorn


def test_a_callers_rate_is_counted_over_all_processes(plan):
    key = ApiClient.with_scopes("plans:read").key
    headers = {"Authorization": f"Api-Key {key}"}
    with gunicorn(workers=2, API_RATE="40/day") as server, ThreadPoolExecutor(8) as pool:

        def ask(_):
            return httpx.get(f"{server.url}/api/v1/plans", headers=headers, timeout=30).status_code

        answers = list(pool.map(ask, range(60)))
    assert answers.count(200) == 40
    assert answers.count(429) == 20


@pytest.mark.usefixtures("_database_for_all")
def test_failed_sign_ins_are_counted_over_all_processes():
    from tests.support.fixtures import fresh_slug

    name = fresh_slug("ghost")
    with gunicorn(workers=2) as server, ThreadPoolExecutor(8) as pool:

        def fail(_):
            with httpx.Client(base_url=server.url, timeout=60) as browser:
                browser.get("/admin/login/")
                form = {"username": name, "password": "x", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
                answer = browser.post("/admin/login/", data=form, headers={"Referer": f"{server.url}/admin/login/"})
            assert answer.status_code == 200
            return "Too many failed attempts" in answer.text

        refused = list(pool.map(fail, range(12)))
    assert refused.count(False) <= 5
    assert refused.count(True) >= 7
