"""Finds the definition of a schema as it is now: its template's while it is a true copy, its own when it is not."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups.engine import catalog
from backups.engine.definition import Definition, of_script, of_statements
from backups.engine.errors import SchemaChanged
from backups.engine.sessions import kept
from tenants.postgres import Dsn, translate
from tenants.schemas.compiler import LiveSchema, compile_template, fingerprints, measure_fingerprint
from tenants.schemas.compiler.sqlscript import split

CACHED = 64
_cache: OrderedDict[str, Definition] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Known:
    """A compiled template: `fingerprint` is that of its clones on the server in question."""

    script: str
    marker: str
    fingerprint: str


def definition_of(schema: str, *, dsn: Dsn, reader: Dsn, known: Iterable[Known] = ()) -> Definition:
    """The definition of a schema as it is now, for `capture`.

    One of `known` when it is a true copy of that; else the schema is compiled, which takes seconds and is remembered by
    its fingerprint. `dsn` is the control plane's login with the right to make a scratch database, `reader` may read the
    schema. Raises TemplateRefused for what cannot be made again, SchemaChanged when it changes meanwhile.
    """
    with kept(reader) as connection:
        try:
            found = fingerprints(connection, [schema]).get(schema, "")
            for each in known:
                if each.fingerprint == found:
                    return of_script(each.script, each.marker, each.fingerprint)
            with _lock:
                if found in _cache:
                    _cache.move_to_end(found)
                    return _cache[found]
            own = _compiled(connection, schema, dsn, reader)
            if fingerprints(connection, [schema]).get(schema, "") != found:
                raise SchemaChanged(f"{schema} changes while it is described.", hint="It will be tried again.")
        except psycopg.Error as error:
            raise translate(error) from error
    definition = dataclasses.replace(own, source=found)
    with _lock:
        _cache[found] = definition
        while len(_cache) > CACHED:
            _cache.popitem(last=False)
    return definition


def _compiled(connection: Connection[Any], schema: str, dsn: Dsn, reader: Dsn) -> Definition:
    """The schema compiled: without the partitions that come and go, with what says that they do."""
    relations = catalog.relations(connection, schema)
    marks = catalog.marks_in(catalog.ask_marks(connection, relations))
    compiled = compile_template(LiveSchema(schema), dsn=dsn, reader=reader, with_data=False)
    passing = catalog.partitions(connection, schema, relations, list(marks), compiled.marker)
    without = [name for part in passing for name in (part.name, *(index.name for index in part.indexes))]
    then = [
        sql.SQL("COMMENT ON POLICY {} ON {} IS {}")
        .format(sql.Identifier(policy), sql.Identifier(compiled.marker, table), sql.Literal(comment))
        .as_string()
        for table, (policy, comment) in marks.items()
    ]
    definition = of_statements(split(compiled.script), compiled.marker, without=without, then=then)
    fingerprint = measure_fingerprint(definition.script(), definition.marker, dsn=dsn)
    return dataclasses.replace(definition, fingerprint=fingerprint)
