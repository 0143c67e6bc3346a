"""One schema in the place of another: nothing of the tenant's access changes but what it reaches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from provisioning import slots
from tenants.exceptions import CloneMismatch, ClusterBusy
from tenants.identifiers import new_schema_name
from tenants.models import Cluster
from tenants.postgres import connect
from tenants.schemas import compiler, roles
from tenants.schemas.switch import switch
from tests.pooling.support import registered, server
from tests.provisioning.support import log_in, provision, warm
from tests.support.fixtures import fresh_slug


class Pair:
    """A tenant, and a second complete schema that has other rows."""

    def __init__(self, template: Any, cluster: Cluster) -> None:
        self.made = provision(template, cluster=cluster.name)
        self.cluster, self.live = cluster, self.made.tenant.schema_name
        (self.slot,) = warm(cluster, template)
        self.incoming, self.aside = self.slot.schema_name, new_schema_name()
        self.write(self.live, "INSERT INTO {}.customers (name) VALUES ('old')")
        self.write(self.incoming, "INSERT INTO {}.customers (name) VALUES ('new')")

    def write(self, schema: str, statement: str) -> None:
        with connect(self.cluster.dsn(), autocommit=True) as link, roles.as_owner(link, schema):
            link.execute(statement.format(schema).encode())

    def switch(self, incoming: str, aside: str) -> None:
        names = roles.logins(self.live)
        with connect(self.cluster.dsn(), autocommit=True) as link:
            roles.close_logins(link, self.live, names)
            try:
                switch(link, live=self.live, incoming=incoming, aside=aside)
            finally:
                roles.open_logins(link, self.live, [self.made.connection.user])

    def names(self) -> list[str]:
        with log_in(self.made.connection) as session:
            return [row[0] for row in session.execute("SELECT name FROM customers WHERE name <> 'House' ORDER BY 1")]


@contextmanager
def no_superuser(template: Any) -> Iterator[Cluster]:
    """A cluster where the functions act with the control plane's own CREATEROLE."""
    # From 16 on the shared groups would have to be the login's own, too, and on this server they are not.
    where, name = server("15"), fresh_slug("bare").replace("-", "_")
    with psycopg.connect(where.url, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    try:
        yield registered(where, name)
    finally:
        with psycopg.connect(where.url, autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def pair(template: Any, cluster: Cluster) -> Iterator[Pair]:
    made = Pair(template, cluster)
    yield made
    for name in (made.incoming, made.aside):
        slots.remove_from_cluster(cluster, name)
    made.slot.delete()


def prints(cluster: Cluster, *schemas: str) -> list[str | None]:
    with connect(cluster.dsn()) as link:
        found = compiler.fingerprints(link, list(schemas))
    return [found.get(schema) for schema in schemas]


def test_the_tenant_reaches_the_new_rows_by_the_same_credentials_and_back(pair: Pair, cluster: Cluster) -> None:
    before = prints(cluster, pair.live)
    pair.switch(pair.incoming, pair.aside)
    assert pair.names() == ["new"]
    assert prints(cluster, pair.live, pair.incoming, pair.aside) == [*before, None, *before]
    with log_in(pair.made.connection) as session:
        session.execute("INSERT INTO customers (name) VALUES ('later')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(f"SELECT * FROM {pair.aside}.customers".encode())
    pair.switch(pair.incoming, pair.aside)  # once more: it is done already
    assert pair.names() == ["later", "new"]
    pair.switch(pair.aside, pair.incoming)
    assert pair.names() == ["old"]
    assert prints(cluster, pair.live, pair.aside) == [*before, None]


def test_routines_that_name_their_schema_follow(pair: Pair) -> None:
    body = "CREATE FUNCTION {0}.who() RETURNS text LANGUAGE plpgsql SET search_path = {0} AS $$ BEGIN"
    body += " RETURN (SELECT max(name) FROM {0}.customers) || current_schema(); END $$"
    for schema in (pair.live, pair.incoming):
        pair.write(schema, body + ";GRANT EXECUTE ON FUNCTION {0}.who() TO {0}_rw")
    pair.switch(pair.incoming, pair.aside)
    with log_in(pair.made.connection) as session:
        assert session.execute("SELECT who()").fetchone() == (f"new{pair.live}",)
    pair.switch(pair.aside, pair.incoming)
    with log_in(pair.made.connection) as session:
        assert session.execute("SELECT who()").fetchone() == (f"old{pair.live}",)


def test_whoever_is_in_holds_it_up_and_nothing_happens(pair: Pair, cluster: Cluster) -> None:
    before = prints(cluster, pair.live, pair.incoming)
    with log_in(pair.made.connection), connect(cluster.dsn(), autocommit=True) as link, pytest.raises(ClusterBusy):
        switch(link, live=pair.live, incoming=pair.incoming, aside=pair.aside)
    assert prints(cluster, pair.live, pair.incoming, pair.aside) == [*before, None]
    assert pair.names() == ["old"]


def test_what_cannot_follow_is_refused_and_nothing_happens(pair: Pair, cluster: Cluster) -> None:
    touch = "CREATE FUNCTION {0}.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    touch += "CREATE TRIGGER noted BEFORE INSERT ON {0}.customers FOR EACH ROW EXECUTE FUNCTION {0}.noted('{0}')"
    pair.write(pair.incoming, touch)
    before = prints(cluster, pair.live, pair.incoming)
    with pytest.raises(CloneMismatch):
        pair.switch(pair.incoming, pair.aside)
    assert prints(cluster, pair.live, pair.incoming, pair.aside) == [*before, None]
    assert pair.names() == ["old"]


def test_only_schemas_of_tenants_and_names_that_are_free(pair: Pair, cluster: Cluster) -> None:
    with connect(cluster.dsn(), autocommit=True) as link:
        for live, incoming, aside in (
            ("public", pair.incoming, pair.aside),
            (pair.live, "public", pair.aside),
            (pair.live, pair.incoming, "aside"),
            (pair.live, pair.incoming, pair.live),
        ):
            with pytest.raises(psycopg.Error):
                link.execute("SELECT cp.switch_schemas(%s, %s, %s)", [live, incoming, aside])
    assert pair.names() == ["old"]


def test_without_a_superuser(template: Any) -> None:
    with no_superuser(template) as cluster:
        pair = Pair(template, cluster)
        try:
            pair.switch(pair.incoming, pair.aside)
            assert pair.names() == ["new"]
            pair.switch(pair.aside, pair.incoming)
            assert pair.names() == ["old"]
        finally:
            for name in (pair.live, pair.incoming, pair.aside):
                slots.remove_from_cluster(cluster, name)
            pair.slot.delete()
