"""PostgreSQL's lexical rules, as far as they decide where a literal, a comment or a name begins and ends.

Lossless: the tokens' texts, joined, are the input. `standard_conforming_strings` is taken to be on (the default
since 9.1; scripts that turn it off are refused before they are executed).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SPACE, COMMENT, STRING, ESTRING, DOLLAR, WORD, QUOTED, NUMBER, PARAM, META, OTHER = (
    "space comment string estring dollar word quoted number param meta other".split()
)
INSIGNIFICANT = frozenset({SPACE, COMMENT})

# Possessive quantifiers keep an unterminated literal from being tried in exponentially many ways. They stand on
# single characters only: on groups, Python before 3.11.5 (Debian 12 has 3.11.2) matches wrongly. `(?!')` says instead
# that a doubled quote is never an end.
# White space is PostgreSQL's, not Unicode's: a no-break space is part of an identifier there.
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\n\r\f\v]++)
  | (?P<line>--[^\n\r]*+)
  | (?P<block>/\*)
  | (?P<estring>[eE]'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*'(?!')
      (?:[ \t\r\f\v]*\n[ \t\n\r\f\v]*'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*'(?!'))*)
  | (?P<string>(?:[bBxXnN]|[uU]&)?'[^']*+(?:''[^']*+)*'(?!'))
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")[^"]*+(?:""[^"]*+)*"(?!"))
  | (?P<dollar>\$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*+)?\$)
  | (?P<param>\$[0-9]+)
  | (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*+)
  | (?P<number>[0-9][0-9A-Za-z_]*+(?:\.[0-9][0-9A-Za-z_]*+)?)
  | (?P<meta>\\)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """One lexical unit: its kind (a constant of this module), its text and its offset in the input."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Offset of the first character after the token."""
        return self.start + len(self.text)

    @property
    def keyword(self) -> str:
        """The word in upper case; empty for everything that is no bare word."""
        return self.text.upper() if self.kind == WORD else ""


class LexicalError(ValueError):
    """A literal or comment that never ends; `start` is where it began."""

    def __init__(self, what: str, start: int) -> None:
        super().__init__(f"unterminated {what}")
        self.start = start


def next_token(text: str, position: int) -> Token:
    """The token that begins at `position` (which must be inside `text`). Raises LexicalError."""
    match = _TOKEN.match(text, position)
    if match is None:  # pragma: no cover - `other` takes any character
        raise LexicalError("input", position)
    kind, found = str(match.lastgroup), match.group()
    if kind == "line":
        return Token(COMMENT, found, position)
    if kind == "block":
        return Token(COMMENT, text[position : _comment_end(text, position)], position)
    if kind == DOLLAR:
        end = text.find(found, match.end())
        if end < 0:
            raise LexicalError(f"dollar-quoted string {found}", position)
        return Token(DOLLAR, text[position : end + len(found)], position)
    if kind == OTHER and found in "'\"":
        raise LexicalError("quoted string" if found == "'" else "quoted identifier", position)
    if kind == WORD and text[match.end() : match.end() + 1] == "'" and found.upper() in {"E", "B", "X", "N"}:
        raise LexicalError("quoted string", position)
    return Token(kind, found, position)


def _comment_end(text: str, start: int) -> int:
    """Comments nest in SQL, unlike in C."""
    depth, position = 0, start
    while edge := _COMMENT_EDGE.search(text, position):
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
        if depth == 0:
            return position
    raise LexicalError("comment", start)


def tokens(text: str) -> Iterator[Token]:
    """All tokens of `text`. Raises LexicalError."""
    position = 0
    while position < len(text):
        token = next_token(text, position)
        yield token
        position = token.end


def significant(text: str) -> list[Token]:
    """The tokens of `text` without white space and comments. Raises LexicalError."""
    return [token for token in tokens(text) if token.kind not in INSIGNIFICANT]


def identifier(token: Token) -> str | None:
    """The name a token stands for, folded as PostgreSQL folds it; None when it is no identifier."""
    if token.kind == WORD:
        return "".join(c.lower() if c.isascii() else c for c in token.text)
    if token.kind == QUOTED and token.text[0] == '"':
        return token.text[1:-1].replace('""', '"')
    return None


def literal_value(token: Token) -> str | None:
    """The content of a plain or dollar-quoted literal; None for anything else."""
    if token.kind == STRING and token.text[0] == "'":
        return token.text[1:-1].replace("''", "'")
    if token.kind == DOLLAR:
        tag = token.text[: token.text.index("$", 1) + 1]
        return token.text[len(tag) : -len(tag)]
    return None
