"""Cutting scripts: nothing is lost, and nothing inside a literal is taken for an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.schemas.compiler.sqlscript import ScriptError, split

# Pieces that hold semicolons and quotes where these mean nothing, and pieces that mean what they are.
_SEALED = [
    "';'", "'it''s; $$ /* --'", "E'\\';\\\\'", "e'\\''", "U&'\\0041;'", "B'01'", "N'a;b'", '";"', '"a"";b"', 'U&";"',
    "$$;$$", "$a$ $$ ; $b$ ' $a$", "$ä$;$ä$", "/* ; ' */", "/* /* ; */ ' */", "-- ; '\n", "(;)", "((';');)", "$1",
    "x$$y", "été", "1.5e3", "a.b", "'a'\n'b;'", "E'a'\n'\\';'",
]  # fmt: skip
_PLAIN = ["SELECT", "1", "+", "*", "-", "/", "a", "CASE", "END", "\n", " ", "\t", "::", ","]


@st.composite
def _statements(draw: st.DrawFn) -> list[str]:
    word = st.sampled_from(_SEALED + _PLAIN)
    first = st.sampled_from(["x", "INSERT", "insert into t values"])
    return draw(
        st.lists(st.tuples(first, st.lists(word)).map(lambda parts: " ".join([parts[0], *parts[1]])), max_size=8)
    )


@given(_statements())
def test_statements_are_cut_where_they_were_joined(statements: list[str]) -> None:
    script = ";\n".join(statements)
    found = list(split(script))
    assert "".join(statement.raw for statement in found) == script
    assert len([s for s in found if s.tokens]) == len(statements)


@given(st.text(alphabet="ab \n;'\"$/*-()\\eE.1", max_size=60))
def test_any_text_comes_back_whole_or_is_refused_with_a_line(script: str) -> None:
    try:
        found = list(split(script))
    except ScriptError as error:
        line = error.line
    else:
        assert "".join(statement.raw for statement in found) == script
        line = 1
    assert 1 <= line <= script.count("\n") + 1


@given(st.integers(0, 6), st.sampled_from(["';'", "$$;$$", '";"', "/*;*/", "1"]))
def test_any_nesting_stays_one_statement(depth: int, core: str) -> None:
    text = core
    for level in range(depth):
        tag = f"$q{level}$"
        text = [f"({text})", f"{tag} {text} {tag}", f"f(/* {level} ; */ {text})"][level % 3]
    found = [s.text for s in split(f"SELECT {text}; SELECT 2") if s.tokens]
    assert len(found) == 2


def test_routine_bodies_in_standard_sql_are_one_statement() -> None:
    script = (
        "CREATE OR REPLACE FUNCTION f(begin integer) RETURNS integer BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END;"
        " SELECT 2; END; SELECT 3;"
        "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END; BEGIN; END;"
    )
    assert [s.text.split()[0] for s in split(script)] == ["CREATE", "SELECT", "CREATE", "BEGIN", "END"]


def test_rules_hold_several_commands() -> None:
    assert len(list(split("CREATE RULE r AS ON DELETE TO v DO (DELETE FROM a; DELETE FROM b); SELECT 1;"))) == 2


def test_rows_of_a_copy_belong_to_it() -> None:
    script = "SELECT 1;\nCOPY t (a) FROM stdin;\nit's; \\N\n\\.x\n\\.\nSELECT 2;\n"
    statements = list(split(script))
    assert [s.line for s in statements if s.tokens] == [1, 2, 6]
    assert statements[1].copy_data == "it's; \\N\n\\.x\n"
    assert "".join(s.raw for s in statements) == script


def test_an_empty_copy() -> None:
    (statement,) = split("COPY t FROM stdin;\n\\.\n")
    assert statement.copy_data == ""


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("SELECT 1;\nSELECT 'a;\nb", 2),
        ('SELECT 1;\n\nSELECT "a', 3),
        ("SELECT $x$ a $y$", 1),
        ("/* /* */", 1),
        ("SELECT 1\n\\gexec", 2),
        ("COPY t FROM stdin;\n1\n", 1),
        ("SELECT E'\\'", 1),
    ],
)
def test_what_never_ends_is_told_by_its_line(script: str, line: int) -> None:
    with pytest.raises(ScriptError) as caught:
        list(split(script))
    assert caught.value.line == line


def test_long_literals_take_linear_time() -> None:
    script = "SELECT '" + "a''" * 200_000  # unterminated, the worst case for backtracking
    with pytest.raises(ScriptError):
        list(split(script))
