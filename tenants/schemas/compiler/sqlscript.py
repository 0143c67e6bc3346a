"""Cuts a SQL script into statements, exactly as psql would.

The statements' `raw` texts, joined, are the script: nothing is lost, and nothing inside a literal, a comment,
a `BEGIN ATOMIC` body, parentheses or COPY data is taken for an end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenants.schemas.compiler import lexer
from tenants.schemas.compiler.lexer import LexicalError, Token

_COPY_END = re.compile(r"^\\\.[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
# The rows of an INSERT as pg_dump writes them, many at one go: seed rows are many, and nobody asks for their tokens.
# Bounded, for a group that can go back remembers each round; see lexer for why it is not possessive.
_ROWS = re.compile(
    r"(?:[ \t\n,()0-9.]++|NULL\b|true\b|false\b|-(?!-)"
    r"|(?<![A-Za-z0-9_&\u0080-\U0010ffff])'[^']*+(?:''[^']*+)*'(?!')){1,1000}"
)
_PLAIN_STRING = re.compile(r"'[^']*+(?:''[^']*+)*'(?!')")
_MAX_TOKENS = 64
_ROUTINES = frozenset({"FUNCTION", "PROCEDURE"})
_SHORT = 300


@dataclass(frozen=True)
class Statement:
    """One statement of a script. Of a long INSERT only the first tokens are kept.

    `raw` is its text with all that precedes it; `text` runs from its first to its last token without the semicolon;
    `line` (from 1) is where it begins; `copy_data` holds the rows that follow a `COPY … FROM stdin`.
    """

    raw: str
    text: str
    line: int
    tokens: tuple[Token, ...]
    copy_data: str | None = None

    @property
    def keywords(self) -> tuple[str, ...]:
        """The bare words, in upper case, in order; literals and quoted names are left out."""
        return tuple(token.keyword for token in self.tokens if token.kind == lexer.WORD)

    @property
    def is_meta(self) -> bool:
        """Whether this is a psql command (a backslash), not SQL."""
        return bool(self.tokens) and self.tokens[0].kind == lexer.META

    def shortened(self) -> str:
        """The statement on one line, cut to 300 characters, for messages."""
        line = " ".join(self.text.split())
        return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


class ScriptError(ValueError):
    """A script that cannot be cut into statements; `line` is where the trouble begins."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Nesting:
    """Follows parentheses and the BEGIN ATOMIC … END of SQL-standard routine bodies, by psql's own rules."""

    def __init__(self) -> None:
        self.parentheses = 0
        self.blocks = 0
        self._leading: list[str] = []

    def feed(self, token: Token) -> None:
        """Take one significant token into account."""
        if token.text == "(":
            self.parentheses += 1
        elif token.text == ")":
            self.parentheses = max(0, self.parentheses - 1)
        elif token.kind == lexer.WORD:
            self._word(token.keyword)

    def skip(self, rows: str) -> None:
        """Take the parentheses of an INSERT's rows into account."""
        bare = _PLAIN_STRING.sub("", rows)
        self.parentheses = max(0, self.parentheses + bare.count("(") - bare.count(")"))

    def _word(self, word: str) -> None:
        if len(self._leading) < 4:
            self._leading.append(word)
        if self.parentheses or not self._in_routine():
            return
        if word == "BEGIN" or (word == "CASE" and self.blocks):
            self.blocks += 1
        elif word == "END" and self.blocks:
            self.blocks -= 1

    def _in_routine(self) -> bool:
        head = self._leading
        return head[:1] == ["CREATE"] and (
            (len(head) > 1 and head[1] in _ROUTINES)
            or (head[1:3] == ["OR", "REPLACE"] and len(head) > 3 and head[3] in _ROUTINES)
        )

    @property
    def closed(self) -> bool:
        """Whether a semicolon here ends the statement."""
        return not self.parentheses and not self.blocks


def split(script: str) -> Iterator[Statement]:
    """The statements of `script`; the last may lack its semicolon. Raises ScriptError."""
    position, line = 0, 1
    while position < len(script):
        try:
            statement, end = _next_statement(script, position, line)
        except LexicalError as error:
            raise ScriptError(str(error), line + script.count("\n", position, error.start)) from error
        if statement is not None:
            yield statement
        line += script.count("\n", position, end)
        position = end


def _next_statement(script: str, begin: int, line: int) -> tuple[Statement | None, int]:
    found: list[Token] = []
    nesting = _Nesting()
    position = last = begin
    while position < len(script):
        if found and found[0].keyword == "INSERT" and (rows := _ROWS.match(script, position)):
            position = last = rows.end()
            nesting.skip(rows.group())
            continue
        token = lexer.next_token(script, position)
        position = token.end
        if token.kind in lexer.INSIGNIFICANT:
            continue
        if token.kind == lexer.META:
            return _meta(script, begin, token, found, line)
        if token.text == ";" and nesting.closed:
            if _reads_stdin(found):
                return _copy(script, begin, position, found, line)
            return _build(script, begin, position, found, line, last), position
        nesting.feed(token)
        last = position
        if len(found) < _MAX_TOKENS or found[0].keyword != "INSERT":
            found.append(token)
    return _build(script, begin, position, found, line, last), position


def _build(
    script: str, begin: int, end: int, found: list[Token], line: int, last: int, data: str | None = None
) -> Statement:
    if not found:  # an empty statement, or the comments after the last one
        return Statement(script[begin:end], "", line, ())
    first = found[0].start
    return Statement(
        raw=script[begin:end],
        text=script[first:last].rstrip(" \t\n\r\f\v"),
        line=line + script.count("\n", begin, first),
        tokens=tuple(found),
        copy_data=data,
    )


def _meta(script: str, begin: int, token: Token, found: list[Token], line: int) -> tuple[Statement, int]:
    """A psql command takes the rest of its line."""
    if found:
        at = line + script.count("\n", begin, token.start)
        raise ScriptError("a psql command (backslash) inside a statement", at)
    newline = script.find("\n", token.start)
    end = len(script) if newline < 0 else newline + 1
    command = Token(lexer.META, script[token.start : end].rstrip(), token.start)
    return _build(script, begin, end, [command], line, command.end), end


def _reads_stdin(found: list[Token]) -> bool:
    words = [token.keyword for token in found]
    return bool(words) and words[0] == "COPY" and ("FROM", "STDIN") in zip(words, words[1:], strict=False)


def _copy(script: str, begin: int, semicolon: int, found: list[Token], line: int) -> tuple[Statement, int]:
    """The rows begin on the next line and end with a backslash and a full stop alone on one."""
    newline = script.find("\n", semicolon)
    start = len(script) if newline < 0 else newline + 1
    end = _COPY_END.search(script, start)
    if end is None:
        at = line + script.count("\n", begin, found[0].start)
        raise ScriptError(r"the rows of this COPY have no end (a line with \. alone)", at)
    return _build(script, begin, end.end(), found, line, found[-1].end, script[start : end.start()]), end.end()
