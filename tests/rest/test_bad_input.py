"""Whatever is sent: a clear 4xx that names what is wrong, nothing changed, nothing secret logged."""

from __future__ import annotations

import json
import logging
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenants.models import Operation, Tenant
from tests.rest.support import new_tenant, problem, wrong_fields
from tests.support.fixtures import fresh_slug

INJECTIONS = ["'; DROP TABLE tenants_tenant; --", '" OR 1=1', "$$;SELECT 1;$$", "\\'; --", "%s", "{0}", "../../etc"]


@pytest.fixture(scope="module")
def client(cluster, plan, template):
    from tests.support.api import ApiClient

    return ApiClient.with_scopes()


@pytest.fixture
def unchanged():
    """Asserts at the end that no tenant and no operation came to be."""
    before = Tenant.objects.count(), Operation.objects.count()
    yield
    assert (Tenant.objects.count(), Operation.objects.count()) == before


def raw(client, body: bytes, **headers):
    return client.request("POST", "tenants", body, **headers)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "invalid", "name"),
        (b"{", "malformed_body", None),
        (b"[]", "malformed_body", None),
        (b'"text"', "malformed_body", None),
        (b"null", "malformed_body", None),
        (b"\xff\xfe", "malformed_body", None),
        (b'\xef\xbb\xbf{"name": "a"}', "malformed_body", None),
        (b'{"name": "a"} {}', "malformed_body", None),
        (b'{"name": NaN}', "malformed_body", None),
        (b'{"limits": {"connection_limit": Infinity}}', "malformed_body", None),
        (b'{"limits": {"connection_limit": -Infinity}}', "malformed_body", None),
        (b'{"limits": {"connection_limit": 1e999}}', "malformed_body", None),
        (b'{"limits": {"connection_limit": ' + b"9" * 5000 + b"}}", "malformed_body", None),
        (b'{"name": "a", "name": "b"}', "duplicate_key", "name"),
        (b'{"labels": {"x": "1", "x": "2"}}', "duplicate_key", "x"),
        (b'{"name": "a\\u0000b"}', "nul_byte", "name"),
        (b'{"labels": {"x": "\\u0000"}}', "nul_byte", "labels.x"),
        (b'{"labels": {"x\\u0000": "1"}}', "nul_byte", "labels"),
        (b'{"name": "\\ud800"}', "invalid_unicode", "name"),
        (b'{"name": ["\\udfff"]}', "invalid_unicode", "name.0"),
        (b'{"name":' + b"[" * 30 + b"]" * 30 + b"}", "malformed_body", None),
        (b'{"name":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "malformed_body", None),
    ],
)
def test_bodies_that_are_no_clear_json(client, unchanged, body, code, field):
    answer = problem(raw(client, body), 400, code)
    if field is not None:
        assert field in {error["field"] for error in answer["errors"]}


def test_a_body_of_ten_megabytes_is_refused(client, unchanged):
    body = json.dumps({"name": "x" * 10_000_000, "slug": fresh_slug()}).encode()
    problem(raw(client, body), 413, "body_too_large")


def test_only_json_in_utf8_is_taken(client, unchanged):
    body = json.dumps({"name": "x", "slug": fresh_slug()}).encode()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                         "application/json; charset=latin-1"):  # fmt: skip
        problem(raw(client, body, content_type=content_type), 415, "unsupported_media_type")


def test_a_body_without_a_length_is_refused(client, unchanged):
    answer = client.http.generic("POST", "/api/v1/tenants", HTTP_TRANSFER_ENCODING="chunked")
    problem(answer, 411, "length_required")


def test_unknown_fields_are_refused_by_name_with_all_other_errors(client, unchanged):
    response = client.post("tenants", {"name": "", "slug": "a", "colour": "red", "id": str(uuid4())})
    assert wrong_fields(response) == {"name", "slug", "colour", "id"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("slug", value) for value in (
            "", "ab", "a" * 41, "Upper", "1abc", "a_b", "a--b", "-abc", "abc-", "abc\n", "admin", "postgres", "äbc",
            "аbc", "a b c", 5, True, None, ["abc"], {"a": 1},
        )),
        *(("name", value) for value in (
            "", "   ", "x" * 121, "a\u202eb", "a\u200bb", "tab\tbed", "line\nfeed", "\ue000", 7, 1.5, False, None, [],
        )),
        *(("labels", value) for value in (
            [], "text", {"Upper": "x"}, {"": "x"}, {"x": 1}, {"x": None}, {"x": "y" * 121}, {"x": "a\u202e"},
            {f"k{i}": "v" for i in range(33)}, {"x": {"y": "z"}},
        )),
        *(("plan", value) for value in ("", 5, True, None, "x" * 41, "no-such-plan", *INJECTIONS)),
        *(("template", value) for value in ("", 5, None, "no-such", *INJECTIONS)),
        *(("cluster", value) for value in ("", 5, None, "no-such", *INJECTIONS)),
        *(("slug", value) for value in INJECTIONS),
    ],
)  # fmt: skip
def test_values_that_cannot_be(client, unchanged, field, value):
    response = client.post("tenants", {"name": "Fine", "slug": fresh_slug(), field: value})
    assert {name.split(".")[0] for name in wrong_fields(response)} == {field}


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"connection_limit": 49}, "limits.connection_limit"),
        ({"connection_limit": 501}, "limits.connection_limit"),
        ({"connection_limit": "60"}, "limits.connection_limit"),
        ({"connection_limit": 60.0}, "limits.connection_limit"),
        ({"connection_limit": 60.5}, "limits.connection_limit"),
        ({"connection_limit": True}, "limits.connection_limit"),
        ({"connection_limit": None}, "limits.connection_limit"),
        ({"storage_quota_bytes": 10**30}, "limits.storage_quota_bytes"),
        ({"colour": 5}, "limits.colour"),
        ([], "limits"),
        ("50", "limits"),
        (None, "limits"),
    ],
)
def test_limits_that_cannot_be(client, unchanged, limits, field):
    response = client.post("tenants", {"name": "Fine", "slug": fresh_slug(), "limits": limits})
    assert wrong_fields(response) == {field}


@pytest.mark.parametrize("name", [*INJECTIONS, "Ünïcode", "名前", "'\"\\", "a" * 120])
def test_names_that_look_dangerous_are_just_names(client, template, cluster, name):
    made = new_tenant(client, template, cluster, name=name, labels={"note": name[:120]})
    read = client.get(f"tenants/{made['id']}").json()
    assert (read["name"], read["labels"]) == (name, {"note": name[:120]})
    assert client.get(f"tenants?q={made['slug']}").json()["results"][0]["name"] == name


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("tenants?colour=red", "colour"),
        ("tenants?state=sleeping", "state"),
        ("tenants?state=active&state=deleted", "state"),
        ("tenants?page_size=0", "page_size"),
        ("tenants?page_size=201", "page_size"),
        ("tenants?page_size=-1", "page_size"),
        ("tenants?page_size=1e2", "page_size"),
        ("tenants?page_size=%D9%A1", "page_size"),
        ("tenants?cursor=", "cursor"),
        ("tenants?cursor=abc", "cursor"),
        ("tenants?label=novalue", "label"),
        ("tenants?label=:x", "label"),
        ("tenants?q=%00", "q"),
        ("tenants?q=", "q"),
        ("audit-events?until=", "until"),
        ("tenants?q=" + "x" * 121, "q"),
        ("tenants?created_after=yesterday", "created_after"),
        ("tenants?created_before=2020-13-01T00:00:00Z", "created_before"),
        ("tenants?format=json", "format"),
        ("operations?tenant=x", "tenant"),
        ("operations?state=open", "state"),
        ("audit-events?outcome=maybe", "outcome"),
        ("audit-events?since=1", "since"),
        ("audit-events?tenant=123", "tenant"),
        ("plans?q=x", "q"),
        ("clusters?state=active", "state"),
    ],
)
def test_query_parameters_that_cannot_be(client, path, field):
    response = client.get(path)
    assert wrong_fields(response) == {field}


def test_query_parameters_are_refused_where_there_are_none(client, template, cluster):
    made = new_tenant(client, template, cluster)
    for method, path in (
        ("GET", f"tenants/{made['id']}?full=1"),
        ("POST", f"tenants/{made['id']}/suspend?reason=x"),
        ("POST", "tenants?dry_run=1"),
        ("PATCH", f"tenants/{made['id']}?x=1"),
        ("DELETE", f"tenants/{made['id']}?force=1"),
    ):
        problem(client.request(method, path, None), 400, "unknown_parameter")
    for query in ("grace_days=x", "grace_days=-1", "grace_days=366", "grace_days=1.5", "grace_days="):
        assert wrong_fields(client.delete(f"tenants/{made['id']}?{query}")) == {"grace_days"}
    assert client.get(f"tenants/{made['id']}").json()["state"] == "active"


@pytest.mark.parametrize(
    "query",
    ["q=%25", "q=_", "q=%5C", *(f"q={i}" for i in ("';--", '"')), "label=a:'", "label=a:b:c", "plan='", "slug=%F0%9F",
     "created_after=0001-01-01T00:00:00%2B14:00", "created_before=9999-12-31T23:59:59-14:00"],
)  # fmt: skip
def test_filters_take_strange_values_as_values(client, query):
    response = client.get(f"tenants?{query}&page_size=1")
    assert response.status_code == 200, response.content


@pytest.mark.parametrize("path", ["suspend", "resume", "undelete", "rotate-credentials"])
def test_bodies_of_acts_are_as_strict(client, template, cluster, path):
    made = new_tenant(client, template, cluster)
    act = f"tenants/{made['id']}/{path}"
    assert wrong_fields(client.post(act, {"force": True})) == {"force"}
    assert wrong_fields(client.post(act, {"reason": "x" * 501})) == {"reason"}
    assert wrong_fields(client.post(act, {"reason": 5})) == {"reason"}
    problem(client.post(act, b'{"reason": "a\\u0000"}'), 400, "nul_byte")
    if path == "rotate-credentials":
        for value in (-1, 43_201, "5", 5.0, True, None):
            assert wrong_fields(client.post(act, {"overlap_minutes": value})) == {"overlap_minutes"}
    read = client.get(f"tenants/{made['id']}").json()
    assert (read["state"], read["updated_at"]) == ("active", made["updated_at"])


def test_a_cursor_of_another_list_or_an_altered_one_is_refused(client, template, cluster):
    for _ in range(2):
        new_tenant(client, template, cluster)
    cursor = client.get("tenants?page_size=1").json()["next"].partition("cursor=")[2].partition("&")[0]
    assert client.get(f"tenants?page_size=1&cursor={cursor}").status_code == 200
    problem(client.get(f"operations?cursor={cursor}"), 400, "invalid_cursor")
    flipped = ("A" if cursor[3] != "A" else "B").join((cursor[:3], cursor[4:]))
    problem(client.get(f"tenants?cursor={flipped}"), 400, "invalid_cursor")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(
    st.sampled_from(["name", "slug", "plan", "template", "cluster", "labels", "limits", "x"]) | st.text(), JSON
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_no_json_object_whatever_is_answered_with_a_crash(client, body):
    # Without a good slug nothing is ever made, so that examples stay cheap.
    body["slug"] = "No Slug"
    response = client.request("POST", "tenants", json.dumps(body).encode())
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_bytes_whatever_are_answered_with_a_crash(client, body):
    assert client.request("POST", "tenants", b"{" + body).status_code == 400


def test_nothing_secret_is_logged(client, template, cluster, caplog):
    with caplog.at_level(logging.DEBUG):
        made = new_tenant(client, template, cluster)
        client.post(f"tenants/{made['id']}/rotate-credentials", {"password": "my own"})
        rotated = client.post(f"tenants/{made['id']}/rotate-credentials").json()
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    for secret in (made["connection"]["password"], rotated["connection"]["password"], client.key, "my own"):
        assert secret not in logged
