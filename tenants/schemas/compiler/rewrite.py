"""Finds schema names in text: in function bodies, dynamic SQL and search_path settings, where PostgreSQL keeps the
words and not a reference, so that renaming the schema does not reach them.

Names are found as tokens, never as substrings, and only where they qualify something: `trading.orders` is a schema and
its table, the enum label `'trading'` is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tenants.schemas.compiler import lexer
from tenants.schemas.compiler.lexer import LexicalError, Token, identifier, literal_value

# Given a schema's name and the name behind the dot (None when it is made at run time), the schema to write instead.
Decide = Callable[[str, str | None], str | None]
_SCHEMA_COLUMNS = re.compile(r"(?:nspname|schemaname|\w+_schema)\Z", re.IGNORECASE)
_NAME_CHARACTER = r"[A-Za-z0-9_$\u0080-\U0010ffff]"
_OPERATOR = frozenset("+-*/<>=~!@#%^&|`?")


class Requalifier:
    """Rewrites the qualifications of the schemas `names` in a text, as `decide` says.

    With `top_level=False` only what stands in literals is touched: in pg_dump's output everything else is a reference
    that has been renamed already.
    """

    def __init__(self, names: Sequence[str], decide: Decide, *, top_level: bool) -> None:
        self._names = tuple(names)
        self._pieces = [[piece for piece in re.split("['\"]", name.lower()) if piece] for name in names]
        self._decide = decide
        self._top_level = top_level
        self.left: set[str] = set()  # bare literals equal to a name, left as they are

    def rewrite(self, text: str) -> str:
        """`text` with its qualifications rewritten; the same object when there are none."""
        if not self._mentioned(text):
            return text
        return self._rewrite(text, self._top_level)

    def _mentioned(self, text: str) -> bool:
        """Whether to look closely. Quotes in a name are doubled once or more, so its pieces are looked for."""
        folded = text.lower()
        return any(all(piece in folded for piece in pieces) for pieces in self._pieces)

    def _rewrite(self, text: str, names_too: bool) -> str:
        found = list(lexer.tokens(text))
        meaningful = [i for i, token in enumerate(found) if token.kind not in lexer.INSIGNIFICANT]
        out = [token.text for token in found]
        in_path = _search_path_items(found, meaningful)
        for position, index in enumerate(meaningful):
            token = found[index]
            neighbours = _Neighbours(found, meaningful, position)
            if index in in_path:
                out[index] = self._path_item(token)
            elif token.kind in {lexer.WORD, lexer.QUOTED}:
                if names_too:
                    out[index] = self._name(token, neighbours)
            elif token.kind in {lexer.STRING, lexer.ESTRING, lexer.DOLLAR}:
                out[index] = self._literal(token, neighbours)
        return "".join(out)

    def _name(self, token: Token, around: _Neighbours) -> str:
        name = identifier(token)
        if name not in self._names or around.text(-1) == "." or around.text(1) != ".":
            return token.text
        target = self._decide(str(name), around.member())
        return token.text if target is None else _as_written(token, target)

    def _path_item(self, token: Token) -> str:
        name = literal_value(token) if token.kind == lexer.STRING else identifier(token)
        if name is None or name not in self._names:
            return token.text
        target = self._decide(name, None)
        return token.text if target is None else _as_written(token, target)

    def _literal(self, token: Token, around: _Neighbours) -> str:
        if not self._mentioned(token.text):
            return token.text
        content = literal_value(token)
        if content is None:  # E'' and others: their content as it is written, without names that need escaping
            quote = token.text.index("'") + 1
            return token.text[:quote] + self._by_pattern(token.text[quote:-1]) + "'"
        if content in self._names:
            return self._bare(token, content, around)
        if around.is_search_path_value():
            return _requote(token, self._path_value(content))
        try:
            changed = self._rewrite(content, True)
        except LexicalError:  # prose, or a piece of dynamic SQL cut inside a literal
            changed = self._by_pattern(content)
        return token.text if changed == content else _requote(token, changed)

    def _bare(self, token: Token, name: str, around: _Neighbours) -> str:
        """A literal that is the name and nothing else may be data: only a catalog's company makes it a schema."""
        target = self._decide(name, None) if around.is_schema_name() else None
        if target is None:
            self.left.add(name)
            return token.text
        return _requote(token, target)

    def _path_value(self, content: str) -> str:
        items = [item.strip() for item in content.split(",")]
        for index, item in enumerate(items):
            name = item[1:-1].replace('""', '"') if item.startswith('"') else item
            if name in self._names and (target := self._decide(name, None)):
                items[index] = target
        return ", ".join(items)

    def _by_pattern(self, content: str) -> str:
        for name in self._names:
            written = '"' + re.escape(name.replace('"', '""')) + '"'
            plain = f"|{re.escape(name)}" if re.fullmatch(_NAME_CHARACTER + "+", name) else ""
            pattern = rf"(?<!{_NAME_CHARACTER})(?<![.\"])(?:{written}{plain})(?=\.)(?:\.({_NAME_CHARACTER}+))?"
            content = re.sub(pattern, lambda match, name=name: self._matched(match, name), content)  # type: ignore[misc]
        return content

    def _matched(self, match: re.Match[str], name: str) -> str:
        member = match.group(1)
        target = self._decide(name, member)
        if target is None:
            return match.group()
        return target if member is None else f"{target}.{member}"


class _Neighbours:
    """The meaningful tokens around one."""

    def __init__(self, found: Sequence[Token], meaningful: Sequence[int], position: int) -> None:
        self._found, self._meaningful, self._position = found, meaningful, position

    def token(self, offset: int) -> Token | None:
        at = self._position + offset
        return self._found[self._meaningful[at]] if 0 <= at < len(self._meaningful) else None

    def text(self, offset: int) -> str:
        token = self.token(offset)
        return token.text if token else ""

    def keyword(self, offset: int) -> str:
        token = self.token(offset)
        return token.keyword if token else ""

    def member(self) -> str | None:
        """The name behind the dot: an identifier or an operator."""
        token = self.token(2)
        if token is None:
            return None
        if token.text in _OPERATOR:
            operator, offset = "", 2
            while self.text(offset) in _OPERATOR and self.text(offset):
                operator += self.text(offset)
                offset += 1
            # `%I` is a placeholder of format(), not the modulo operator.
            return None if operator.endswith("%") and self.text(offset)[:1] in {"I", "s", "L", "1"} else operator
        return identifier(token)

    def is_search_path_value(self) -> bool:
        """Whether this is the second argument of set_config('search_path', …)."""
        before = self.token(-2)
        return self.text(-1) == "," and before is not None and literal_value(before) == "search_path"

    def is_schema_name(self) -> bool:
        """Whether a bare literal here can only be the name of a schema."""
        if self.text(-1) == "=" and _SCHEMA_COLUMNS.match(self.text(-2)):
            return True
        if self.text(-1) == "(" and self.keyword(-2) in {"TO_REGNAMESPACE", "QUOTE_IDENT"}:
            return True
        if self.is_search_path_value():
            return True
        format_string = self.token(-2)
        if self.text(-1) == "," and self.keyword(-4) == "FORMAT" and format_string is not None:
            return "%I." in (literal_value(format_string) or "")
        return self.text(1) == ":" and self.text(2) == ":" and self.keyword(3) == "REGNAMESPACE"


def _search_path_items(found: Sequence[Token], meaningful: Sequence[int]) -> set[int]:
    """The tokens that are items of a `search_path = a, 'b'` or `search_path TO a, b`."""
    items: set[int] = set()
    for position, index in enumerate(meaningful):
        if found[index].keyword != "SEARCH_PATH":
            continue
        rest = meaningful[position + 1 :]
        if not rest or not (found[rest[0]].text == "=" or found[rest[0]].keyword == "TO"):
            continue
        for item, comma in zip(rest[1::2], [*rest[2::2], -1], strict=False):
            if found[item].kind not in {lexer.WORD, lexer.QUOTED, lexer.STRING}:
                break
            items.add(item)
            if comma < 0 or found[comma].text != ",":
                break
    return items


def _as_written(token: Token, name: str) -> str:
    """`name` in the form the token had: quoted where that was."""
    if token.kind == lexer.QUOTED:
        return '"' + name.replace('"', '""') + '"'
    if token.kind == lexer.STRING:
        return "'" + name.replace("'", "''") + "'"
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name)
    return name if plain else '"' + name.replace('"', '""') + '"'


def _requote(token: Token, content: str) -> str:
    if token.kind == lexer.DOLLAR:
        tag = token.text[: token.text.index("$", 1) + 1]
        return tag + content + tag
    return "'" + content.replace("'", "''") + "'"


def bare_words(text: str) -> set[str]:
    """Identifiers of a routine's body that stand alone, not before a dot: among them are its aliases and variables."""
    try:
        found = lexer.significant(text)
    except LexicalError:
        return set()
    names: set[str] = set()
    for token, after in zip(found, [*found[1:], None], strict=False):
        name = identifier(token)
        if name is not None and (after is None or after.text != "."):
            names.add(name)
    return names
