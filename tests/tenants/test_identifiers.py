"""Names: what is made is valid and random, what is taken is safe wherever it is written."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tenants import identifiers
from tenants.exceptions import InvalidInput

NASTY = ["", "a", "ab", "-ab", "ab-", "a--b", "1ab", "aB", "a_b", "a b", "ab\n", "abc\n", "äbc", "a/../b", "a\x00b",
         "a" * 41,         "ab\u200bc", "рaypal", "abc;drop", 'a"b', "a'b", "%2e", "..", None, 7, ["abc"]]  # fmt: skip


@pytest.mark.parametrize("value", NASTY)
def test_bad_slugs_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        identifiers.check_slug(value)  # type: ignore[arg-type]
    assert caught.value.field == "slug"


@pytest.mark.parametrize("value", sorted(identifiers.RESERVED_SLUGS))
def test_reserved_slugs_are_refused(value: str) -> None:
    with pytest.raises(InvalidInput):
        identifiers.check_slug(value)


@given(st.text(max_size=60))
def test_an_accepted_slug_is_a_dns_label(text: str) -> None:
    try:
        slug = identifiers.check_slug(text)
    except InvalidInput:
        return
    assert slug == text
    assert slug.isascii()
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 3 <= len(slug) <= 40
    assert slug[0].isalpha()
    assert slug[-1] != "-"
    assert "--" not in slug


@given(st.from_regex(r"[a-z][a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True))
def test_good_slugs_are_accepted(text: str) -> None:
    assume(text not in identifiers.RESERVED_SLUGS and 3 <= len(text) <= 40)
    assert identifiers.check_slug(text) == text


@given(st.text(max_size=200))
def test_an_accepted_name_is_visible_and_stable(text: str) -> None:
    try:
        name = identifiers.check_name(text)
    except InvalidInput:
        return
    assert name == identifiers.check_name(name)
    assert name.isprintable() or " " in name or "\u3000" in name or any(c.isspace() for c in name)
    assert not {"\x00", "\n", "\u202e", "\u200b", "\ufeff"} & set(name)


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "a\nb", "a\u202eb", "a\u200bb", "\ue000", "x" * 121, 5, None])
def test_bad_names_are_refused(name: object) -> None:
    with pytest.raises(InvalidInput):
        identifiers.check_name(name)  # type: ignore[arg-type]


def test_names_are_normalised() -> None:
    assert identifiers.check_name("  Cafe\u0301 ") == "Caf\u00e9"


def test_schema_names_are_random_valid_and_leave_room_for_roles() -> None:
    names = {identifiers.new_schema_name() for _ in range(2000)}
    assert len(names) == 2000
    for name in names:
        assert identifiers.check_schema_name(name) == name
        assert max(len(identifiers.role_name(name, s)) for s in ("owner", "rw_a", "rw_b", "ro")) <= 63
    # 20 characters of 32: each one takes every value, so no bits are lost to a smaller alphabet.
    assert {c for name in names for c in name[2:]} == set(identifiers.BASE32)


@pytest.mark.parametrize(
    "name", ["t_", "t_a/../b", "t_" + "a" * 19, "t_" + "a" * 21, "t_" + "a" * 20 + "\n", 'public"', "T_" + "a" * 20]
)
def test_foreign_schema_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        identifiers.check_schema_name(name)


@pytest.mark.parametrize(
    "labels",
    [[], "x", {"A": "x"}, {"a b": "x"}, {"": "x"}, {"a": 1}, {"a": "x" * 121}, {"a": "\x00"}, {"a" * 64: "x"},
     {f"k{i}": "x" for i in range(33)}],
)  # fmt: skip
def test_bad_labels_are_refused(labels: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        identifiers.check_labels(labels)
    assert caught.value.field == "labels"
