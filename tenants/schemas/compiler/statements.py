"""Decides, before anything is executed, what is to be done with each statement of a template.

The import role could not carry most of the refused ones out anyway; refusing them here gives the file, the line and a
reason people can act on instead of the server's "permission denied".
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from tenants.schemas.compiler import lexer
from tenants.schemas.compiler.lexer import Token, identifier, literal_value
from tenants.schemas.compiler.sqlscript import Statement


class Action(enum.Enum):
    """What the loader does with a statement."""

    EXECUTE = "execute"
    SKIP = "skip"
    REFUSE = "refuse"
    EXTENSION = "extension"
    SCHEMA = "schema"
    COPY = "copy"
    OPEN = "open to public"
    PROTECTION = "protection"


@dataclass(frozen=True)
class Verdict:
    """An action and why: the reason of a refusal, or a note worth keeping of what is skipped."""

    action: Action
    reason: str = ""


EXECUTE, SKIP = Verdict(Action.EXECUTE), Verdict(Action.SKIP)

_SHARED = "belongs to the whole cluster, not to a schema; remove it from the template"
_DATABASE_WIDE = "belongs to the whole database, not to a schema, so clones would share it"
_SUPERUSER = "needs a superuser, which clones are never made by"
# The object's words after CREATE, ALTER or DROP.
_REFUSED_OBJECTS: dict[tuple[str, ...], str] = {
    ("ROLE",): _SHARED,
    ("USER",): _SHARED,
    ("GROUP",): _SHARED,
    ("DATABASE",): _SHARED,
    ("TABLESPACE",): _SHARED,
    ("SUBSCRIPTION",): _SHARED,
    ("PUBLICATION",): _DATABASE_WIDE,
    ("EVENT", "TRIGGER"): _DATABASE_WIDE,
    ("SERVER",): _DATABASE_WIDE,
    ("FOREIGN", "DATA", "WRAPPER"): _DATABASE_WIDE,
    ("FOREIGN", "TABLE"): "reaches outside the database, so a clone would not be isolated",
    ("LANGUAGE",): _DATABASE_WIDE,
    ("TRUSTED", "LANGUAGE"): _DATABASE_WIDE,
    ("TRUSTED", "PROCEDURAL", "LANGUAGE"): _DATABASE_WIDE,
    ("PROCEDURAL", "LANGUAGE"): _DATABASE_WIDE,
    ("CAST",): _DATABASE_WIDE,
    ("TRANSFORM",): _DATABASE_WIDE,
    ("ACCESS", "METHOD"): _SUPERUSER,
    ("OPERATOR", "CLASS"): _SUPERUSER,
    ("OPERATOR", "FAMILY"): _SUPERUSER,
    ("TEXT", "SEARCH", "PARSER"): _SUPERUSER,
    ("TEXT", "SEARCH", "TEMPLATE"): _SUPERUSER,
    ("LARGE", "OBJECT"): _DATABASE_WIDE,
    ("SYSTEM",): "changes the server's configuration",
}
_ONE_TRANSACTION = "the import is one transaction of its own; remove transaction control"
_REFUSED_VERBS: dict[tuple[str, ...], str] = {
    ("BEGIN",): _ONE_TRANSACTION,
    ("START", "TRANSACTION"): _ONE_TRANSACTION,
    ("COMMIT",): _ONE_TRANSACTION,
    ("END",): _ONE_TRANSACTION,
    ("ROLLBACK",): _ONE_TRANSACTION,
    ("ABORT",): _ONE_TRANSACTION,
    ("SAVEPOINT",): _ONE_TRANSACTION,
    ("RELEASE",): _ONE_TRANSACTION,
    ("PREPARE", "TRANSACTION"): _ONE_TRANSACTION,
    ("SECURITY", "LABEL"): _SUPERUSER,
    ("LOAD",): _SUPERUSER,
    ("CHECKPOINT",): _SUPERUSER,
    ("IMPORT", "FOREIGN", "SCHEMA"): "reaches outside the database, so a clone would not be isolated",
    ("REASSIGN",): _SHARED,
    ("DROP", "OWNED"): _SHARED,
    ("DROP", "EXTENSION"): "extensions belong to the database, other templates may use them",
    ("ALTER", "EXTENSION"): "extensions belong to the database, other templates may use them",
    ("VACUUM",): "cannot run inside the import's transaction, and clones are fresh anyway; remove it",
    ("DISCARD",): "cannot run inside the import's transaction; remove it",
    ("SET", "ROLE"): "a template has no say in roles; remove it",
    ("SET", "LOCAL", "ROLE"): "a template has no say in roles; remove it",
    ("SET", "SESSION", "ROLE"): "a template has no say in roles; remove it",
    ("RESET", "ROLE"): "a template has no say in roles; remove it",
}
# Settings of the session that dumps write and that are ours to decide.
_OUR_SETTINGS = frozenset(
    "statement_timeout lock_timeout idle_in_transaction_session_timeout idle_session_timeout transaction_timeout "
    "client_encoding client_min_messages default_tablespace default_with_oids row_security "
    "synchronize_seqscans restrict_nonsystem_relation_kind event_triggers".split()
)
_GRANTABLE_ROUTINES = frozenset({"FUNCTION", "FUNCTIONS", "PROCEDURE", "PROCEDURES", "ROUTINE", "ROUTINES"})
OUR_POLICIES = frozenset({"tenant_rw", "tenant_ro", "tenant_owner"})
_FILLERS = {"OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "GLOBAL", "LOCAL"}
_GRANTED_KINDS = _GRANTABLE_ROUTINES | set(
    "TABLE TABLES SEQUENCE SEQUENCES SCHEMA DATABASE TYPE DOMAIN LANGUAGE LARGE PARAMETER TABLESPACE ALL".split()
)


def judge(statement: Statement, *, hardened: str | None = None) -> Verdict:
    """What to do with `statement`.

    `hardened` is the schema's name when the source may be a tenant's own schema: the protection the control plane gave
    it (policies for `<schema>_owner`, `_rw` and `_ro`) is then left out, since every clone gets its own.
    """
    if not statement.tokens:
        return SKIP
    if statement.is_meta:
        return _meta(statement)
    words = statement.keywords
    for prefix, reason in _REFUSED_VERBS.items():
        if words[: len(prefix)] == prefix:
            return _refuse(f"{' '.join(prefix)}: {reason}")
    handler = _BY_VERB.get(words[0] if words else "")
    if hardened is not None and _is_protection(statement, words, hardened):
        return Verdict(Action.OPEN if words[0] == "GRANT" else Action.PROTECTION)
    if words[:2] == ("CREATE", "POLICY") or words[:2] == ("ALTER", "POLICY"):
        return _policy(statement)
    return handler(statement, words) if handler else EXECUTE


def _refuse(reason: str) -> Verdict:
    return Verdict(Action.REFUSE, reason)


def _meta(statement: Statement) -> Verdict:
    command = statement.text.split()[0]
    if command in (r"\restrict", r"\unrestrict"):
        return SKIP
    return _refuse(f"{command} is a command of psql, not SQL; remove it")


def _object_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words from the kind of object on: CREATE OR REPLACE TEMP TABLE x → TABLE X."""
    index = 1
    while index < len(words) and words[index] in _FILLERS:
        index += 1
    return tuple(words[index : index + 4])


def _definition(statement: Statement, words: Sequence[str]) -> Verdict:
    """CREATE, ALTER, DROP."""
    kind = _object_words(words)
    for prefix, reason in _REFUSED_OBJECTS.items():
        if kind[: len(prefix)] == prefix:
            return _refuse(f"{words[0]} {' '.join(prefix)}: {reason}")
    if kind[:2] == ("DEFAULT", "PRIVILEGES"):
        return Verdict(Action.SKIP, "default privileges were left out: clones have their own")
    if "CONCURRENTLY" in words and "INDEX" in kind:
        return _refuse("CONCURRENTLY cannot run inside the import's transaction; remove the word")
    if kind[:1] == ("EXTENSION",):
        return Verdict(Action.EXTENSION)
    if kind[:1] == ("SCHEMA",):
        return _schema(statement, words)
    if words[0] == "ALTER" and _adjacent(words, "OWNER", "TO"):
        return SKIP
    if kind[:1] and kind[0] in {"FUNCTION", "PROCEDURE", "ROUTINE"}:
        return _routine(words)
    if words[0] == "CREATE" and kind[:1] == ("TYPE",) and _has_option(statement, "INPUT"):
        return _refuse(f"CREATE TYPE with an INPUT function: a base type {_SUPERUSER}")
    return EXECUTE


def _adjacent(words: Sequence[str], first: str, second: str) -> bool:
    return (first, second) in zip(words, words[1:], strict=False)


def _has_option(statement: Statement, option: str) -> bool:
    found = statement.tokens
    return any(a.keyword == option and b.text == "=" for a, b in zip(found, found[1:], strict=False))


def _routine(words: Sequence[str]) -> Verdict:
    if _adjacent(words, "SECURITY", "DEFINER"):
        return _refuse(
            "SECURITY DEFINER: the routine would run as the owner of the tenant's schema and step around row-level "
            "security; make it SECURITY INVOKER (the default)"
        )
    for language in ("C", "INTERNAL"):
        if words[0] == "CREATE" and _adjacent(words, "LANGUAGE", language):
            return _refuse(f"LANGUAGE {language.lower()} {_SUPERUSER}")
    return EXECUTE


def _schema(statement: Statement, words: Sequence[str]) -> Verdict:
    if words[0] == "CREATE":
        return Verdict(Action.SCHEMA)
    return SKIP if _adjacent(words, "OWNER", "TO") else EXECUTE


def _set(statement: Statement, words: Sequence[str]) -> Verdict:
    index = 2 if len(words) > 1 and words[1] in {"LOCAL", "SESSION"} else 1
    name = words[index].lower() if len(words) > index else ""
    if name == "authorization":
        return SKIP  # dumps made with --use-set-session-authorization
    value = literal_value(statement.tokens[-1]) or statement.tokens[-1].keyword.lower()
    if name == "standard_conforming_strings" and value not in {"on", "true", "1"}:
        return _refuse("standard_conforming_strings must be on: dump again with it on (the default since 9.1)")
    if name == "default_tablespace" and value:
        return Verdict(Action.SKIP, "tablespaces were left out: clones use the database's default")
    return SKIP if name in _OUR_SETTINGS else EXECUTE


def _copy(statement: Statement, words: Sequence[str]) -> Verdict:
    if statement.copy_data is not None:
        return Verdict(Action.COPY)
    if "PROGRAM" in words:
        return _refuse("COPY … PROGRAM runs a program on the server")
    return _refuse("COPY to or from a file reads the server's disk; use COPY … FROM stdin with the rows, or INSERT")


def _comment(statement: Statement, words: Sequence[str]) -> Verdict:
    if words[2:3] and words[2] in {"EXTENSION", "DATABASE"}:
        return SKIP
    if words[2:3] and words[2] in {"ROLE", "TABLESPACE", "SUBSCRIPTION", "PUBLICATION", "SERVER", "LARGE", "CAST"}:
        return _refuse(f"COMMENT ON {words[2]}: {_DATABASE_WIDE}")
    return EXECUTE


def _privilege(statement: Statement, words: Sequence[str]) -> Verdict:
    """Grants are ours to decide, except that a function closed to PUBLIC stays closed to the tenant's logins."""
    on = words.index("ON") if "ON" in words else len(words)
    kinds = set(words[on + 1 : on + 3]) & _GRANTED_KINDS
    if "ON" not in words:
        return _refuse(f"{words[0]} of a role: {_SHARED}")
    if kinds & _GRANTABLE_ROUTINES and _grantees(statement) == ["PUBLIC"]:
        return EXECUTE
    if _grantees(statement) == ["PUBLIC"]:
        return SKIP
    return Verdict(Action.SKIP, "grants to named roles were left out: each clone has roles of its own")


def _grantees(statement: Statement) -> list[str]:
    """The roles a GRANT or REVOKE names; bare words in upper case."""
    found = statement.tokens
    edge = max((i for i, token in enumerate(found) if token.keyword in {"TO", "FROM"}), default=len(found))
    names: list[str] = []
    for token in found[edge + 1 :]:
        if token.keyword in {"WITH", "GRANTED", "CASCADE", "RESTRICT"}:
            break
        if token.kind in {lexer.WORD, lexer.QUOTED}:
            names.append(token.keyword or token.text)
    return names


def _is_protection(statement: Statement, words: Sequence[str], schema: str) -> bool:
    """Whether a statement is part of what the control plane laid on a tenant's schema: policies, comments on them,
    and the grant by which a function is open to the tenant's logins."""
    found = statement.tokens
    if words[:2] == ("CREATE", "POLICY"):
        return is_our_policy(identifier(found[2]), policy_roles(found), schema)
    if words[:3] == ("COMMENT", "ON", "POLICY"):
        return identifier(found[3]) in OUR_POLICIES
    if words[:1] == ("GRANT",) and "ON" in words:
        on = words.index("ON")
        return words[on + 1] in _GRANTABLE_ROUTINES and f"{schema}_rw" in [n.lower() for n in _grantees(statement)]
    return False


def opened_to_public(statement: Statement) -> str:
    """A GRANT on a routine with PUBLIC in the place of its roles."""
    edge = max(token.start for token in statement.tokens if token.keyword == "TO")
    return statement.text[: edge - statement.tokens[0].start] + "TO PUBLIC"


def _policy(statement: Statement) -> Verdict:
    foreign = [role for role in policy_roles(statement.tokens) if role.lower() != "public"]
    if foreign:
        return _refuse(
            f"the policy names the role {foreign[0]}, which clones do not have; leave TO out (it means PUBLIC: each "
            "tenant's logins)"
        )
    return EXECUTE


def is_our_policy(name: str | None, roles: Sequence[str], schema: str) -> bool:
    """Whether a policy is the protection the control plane itself gives to a tenant's tables."""
    ours = {f"{schema}_{suffix}" for suffix in ("owner", "rw", "ro")}
    return name in OUR_POLICIES and bool(roles) and set(roles) <= ours


def policy_roles(found: Sequence[Token]) -> list[str]:
    """The roles after TO in CREATE or ALTER POLICY, outside its expressions."""
    roles: list[str] = []
    depth, inside = 0, False
    for token in found:
        depth += (token.text == "(") - (token.text == ")")
        if depth or token.text == ")":
            continue
        if token.keyword == "TO":
            inside = "RENAME" not in [t.keyword for t in found]
        elif token.keyword in {"USING", "WITH"}:
            inside = False
        elif inside and (name := identifier(token)) is not None:
            roles.append(name)
    return roles


def _analyze(statement: Statement, words: Sequence[str]) -> Verdict:
    return SKIP


_BY_VERB = {
    "CREATE": _definition,
    "ALTER": _definition,
    "DROP": _definition,
    "SET": _set,
    "COPY": _copy,
    "COMMENT": _comment,
    "GRANT": _privilege,
    "REVOKE": _privilege,
    "ANALYZE": _analyze,
    "LISTEN": _analyze,
    "NOTIFY": _analyze,
}


@dataclass(frozen=True)
class ExtensionRequest:
    """What a CREATE EXTENSION asks for."""

    name: str
    schema: str | None


def extension_request(statement: Statement) -> ExtensionRequest:
    """The extension a CREATE EXTENSION statement names, and the schema it wants it in."""
    found = list(statement.tokens[2:])
    if [token.keyword for token in found[:3]] == ["IF", "NOT", "EXISTS"]:
        found = found[3:]
    schema = None
    for token, after in zip(found, found[1:], strict=False):
        if token.keyword == "SCHEMA":
            schema = identifier(after)
    return ExtensionRequest((identifier(found[0]) if found else None) or "", schema)


def schema_request(statement: Statement) -> str | None:
    """The name a plain CREATE SCHEMA gives; None when it does more than that."""
    found = list(statement.tokens[2:])
    if [token.keyword for token in found[:3]] == ["IF", "NOT", "EXISTS"]:
        found = found[3:]
    if len(found) in (1, 3) and (len(found) == 1 or found[1].keyword == "AUTHORIZATION"):
        return identifier(found[0]) if found[0].keyword != "AUTHORIZATION" else None
    return None
