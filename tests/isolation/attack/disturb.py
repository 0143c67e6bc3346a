"""Disturbing another tenant, speaking to it, and coming in where one has no business: mostly acts of two sessions."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tenants.reaping.watch import Watch
from tests.isolation.attack.probe import Probe

STALL_SECONDS = 0.5
# What is promised where a disturbance cannot be closed: beyond it the probe counts as open.
BOUNDED_STALL_SECONDS, BOUNDED_LOGIN_SECONDS = 3.0, 1.0
HALF_OPEN = 150


def listen(stage: Any, session: Any) -> bool:
    """Does the attacker hear what the victim tells itself?"""
    channel = stage.new_name()
    session.execute(f"LISTEN {channel}")
    stage.victim.execute(f"NOTIFY {channel}, 'secret'")
    return any(notify.payload == "secret" for notify in session.notifies(timeout=0.3, stop_after=1))


def forge(stage: Any, session: Any) -> bool:
    """Does the victim hear what the attacker says in its place?"""
    channel = stage.new_name()
    stage.victim.execute(f"LISTEN {channel}")
    session.execute(f"NOTIFY {channel}, 'forged'")
    heard = any(notify.payload == "forged" for notify in stage.victim.notifies(timeout=0.3, stop_after=1))
    stage.victim.execute("UNLISTEN *")
    return heard


def forge_by_function(stage: Any, session: Any) -> bool:
    """The same by the function."""
    channel = stage.new_name()
    stage.victim.execute(f"LISTEN {channel}")
    session.execute("SELECT pg_notify(%s, 'forged')", [channel])
    heard = any(notify.payload == "forged" for notify in stage.victim.notifies(timeout=0.3, stop_after=1))
    stage.victim.execute("UNLISTEN *")
    return heard


def _blocks_ddl(stage: Any, session: Any, statement: str) -> bool:
    """While `statement` waits for a lock that the victim's reader holds, does the victim's owner wait behind it?"""
    with stage.as_superuser() as reader, stage.as_superuser() as owner, stage.attacker_again(session) as attacker:
        reader.autocommit = False
        reader.execute(stage.fill("CREATE TABLE {b}.holds_schema (id int)"))  # holds the schema's lock
        attacker.execute("SET statement_timeout = '3s'")
        query = stage.in_background(attacker, stage.fill(statement))
        time.sleep(0.2)
        owner.execute(f"SET lock_timeout = '{int(STALL_SECONDS * 1000)}ms'")
        try:
            owner.execute(stage.fill("CREATE TABLE {b}.waits (id int)"))
            owner.execute(stage.fill("DROP TABLE {b}.waits"))
            stalled = False
        except psycopg.errors.LockNotAvailable:
            stalled = True
        reader.rollback()
        with contextlib.suppress(psycopg.Error):
            query.result()
        return stalled


def drop_schema_queues(stage: Any, session: Any) -> bool:
    """DROP SCHEMA takes its place in the lock queue before the server asks whether it may."""
    return _blocks_ddl(stage, session, "DROP SCHEMA {b}")


def stall_with_reaper(stage: Any, session: Any) -> bool:
    """The same where the reaper watches: is the victim's DDL held up for longer than is promised?"""
    watch = Watch(stage.cluster)
    try:
        with stage.as_superuser() as reader, stage.as_superuser() as owner, stage.attacker_again(session) as attacker:
            attacker.execute("SET statement_timeout = 0")
            reader.autocommit = False
            reader.execute(stage.fill("CREATE TABLE {b}.holds_schema (id int)"))
            query = stage.in_background(attacker, stage.fill("DROP SCHEMA {b}"))
            time.sleep(0.2)
            owner.execute("SET lock_timeout = '20s'")
            began = time.monotonic()
            owner.execute(stage.fill("CREATE TABLE {b}.waits (id int)"))
            seconds = stage.measured["DDL held up by DROP SCHEMA, with the reaper"] = time.monotonic() - began
            owner.execute(stage.fill("DROP TABLE {b}.waits"))
            reader.rollback()
            with contextlib.suppress(psycopg.Error):
                query.result(10)
            return seconds > BOUNDED_STALL_SECONDS
    finally:
        watch.stop()
        watch.thread.join(10)


def half_open(stage: Any, session: Any) -> bool:
    """Do 150 logins that never send their password keep the victim from logging in?"""
    url, victim = urlsplit(stage.dsn_of(session)), urlsplit(stage.victim_dsn)
    place = (str(url.hostname), int(url.port or 5432))
    hello = f"user\0{url.username}\0database\0{url.path.lstrip('/')}\0\0".encode()
    hello = struct.pack("!ii", len(hello) + 8, 196_608) + hello
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_OPEN):
            one = stack.enter_context(socket.create_connection(place, timeout=10))
            one.sendall(hello)
            one.recv(1)  # it asks for the password, and waits
        began = time.monotonic()
        to = victim._replace(netloc=f"{victim.username}:{victim.password}@{place[0]}:{place[1]}")
        try:
            psycopg.connect(urlunsplit(to), connect_timeout=20).close()
        except psycopg.OperationalError:
            return True
        way = "direct" if place[1] == victim.port else "pooled"
        seconds = stage.measured[f"login beside {HALF_OPEN} half-open ones, {way}"] = time.monotonic() - began
        return seconds > BOUNDED_LOGIN_SECONDS


def old_snapshot(stage: Any, session: Any) -> bool:
    """Does an open transaction keep the server from cleaning up after others?"""
    with stage.attacker_again(session) as attacker:
        attacker.autocommit = False
        attacker.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        attacker.execute("SELECT 1")
        with stage.as_superuser() as other:
            query = "SELECT 1 FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND usename = %s"
            return bool(other.execute(query, [stage.names["a"] + "_rw_a"]).fetchone())


def all_connections(stage: Any, session: Any) -> bool:
    """Can a login take more connections than its plan allows?"""
    held: list[Any] = []
    limit = stage.connection_limit
    try:
        for _ in range(limit + 1):
            held.append(psycopg.connect(stage.dsn_of(session), autocommit=True, connect_timeout=5))
        return True
    except psycopg.OperationalError:
        return False
    finally:
        for one in held:
            one.close()


def may_connect_often(stage: Any, session: Any) -> bool:
    """The control of that: as many as the plan allows."""
    with contextlib.ExitStack() as stack:
        for _ in range(stage.connection_limit - 3):
            stack.enter_context(psycopg.connect(stage.victim_dsn, autocommit=True, connect_timeout=5))
    return True


def name_by_vacuum(stage: Any, session: Any) -> bool:
    """VACUUM of everything warns of each table that is not ours, by its name."""
    heard: list[str] = []
    with stage.attacker_again(session) as attacker:
        attacker.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
        attacker.execute("SET client_min_messages = warning")
        attacker.execute("VACUUM (SKIP_LOCKED, INDEX_CLEANUP off, TRUNCATE off)")
    return any("only_of_the_victim" in line for line in heard)


_ADVISORY = {
    "advisory lock": "SELECT pg_advisory_lock(815) IS NOT NULL",
    "try advisory lock": "SELECT pg_try_advisory_lock(816)",
    "shared advisory lock": "SELECT pg_advisory_lock_shared(817) IS NOT NULL",
    "transaction's advisory lock": "SELECT pg_advisory_xact_lock(818) IS NOT NULL",
    "try transaction's advisory lock": "SELECT pg_try_advisory_xact_lock(819)",
    "two-key advisory lock": "SELECT pg_try_advisory_lock(8, 20)",
}

PROBES = [
    *(
        Probe(name, "advisory locks", "disturb", sql + "; SELECT pg_advisory_unlock_all() IS NOT NULL")
        for name, sql in _ADVISORY.items()
    ),
    Probe("listen", "notify", "leak", "", play=listen, control="NOTIFY x"),
    Probe("forge", "notify", "disturb", "", play=forge, control="NOTIFY x"),
    Probe("forge by function", "notify", "disturb", "", play=forge_by_function, control="SELECT pg_notify('x', 'y') IS NOT NULL"),
    Probe("queue length", "notify", "leak", "SELECT pg_notification_queue_usage() >= 0"),
    Probe("drop schema waits in the queue", "lock queue", "disturb", "", play=drop_schema_queues, control="SELECT 1", paths=("direct",)),
    Probe("drop schema where the reaper watches", "lock queue", "disturb", "", play=stall_with_reaper, control="SELECT 1", paths=("direct",)),
    Probe("half-open logins", "connections", "disturb", "", play=half_open, control="SELECT 1"),
    Probe("old snapshot", "load", "disturb", "", play=old_snapshot, control="SELECT 1", paths=("direct",)),
    Probe("sleep", "load", "disturb", "SELECT pg_sleep(0.01) IS NOT NULL"),
    Probe("much memory", "load", "disturb", "SELECT length(repeat('x', 10000000)) > 0"),
    Probe("wal by message", "load", "disturb", "SELECT pg_logical_emit_message(true, 'x', 'y') IS NOT NULL"),
    Probe("export snapshot", "load", "disturb", "SELECT pg_export_snapshot()"),
    Probe("prepared transaction", "load", "disturb", "SELECT count(*) + 1 FROM pg_prepared_xact()"),
    Probe(
        "temporary files without limit", "load", "disturb",
        "SET LOCAL work_mem = '64kB'; SELECT current_setting('temp_file_limit') = '-1'",
    ),
    Probe("connections beyond the plan", "connections", "disturb", "", play=all_connections, control="SELECT 1", paths=("direct",)),
    Probe("names by vacuum", "names", "leak", "", play=name_by_vacuum, control="SELECT 1", paths=("direct",)),
    Probe("database postgres", "connections", "escalate", "", connect=(("dbname", "postgres"),), paths=("direct",)),
    Probe("database template1", "connections", "escalate", "", connect=(("dbname", "template1"),), paths=("direct",)),
    Probe("another tenants' database", "connections", "leak", "", connect=(("dbname", "{other}"),)),
    Probe("as the victim without its password", "connections", "escalate", "", connect=(("user", "{b}_rw_a"),)),
    Probe("as the victim's other login", "connections", "escalate", "", connect=(("user", "{b}_rw_b"),)),
    Probe("as its owner", "connections", "escalate", "", connect=(("user", "{a}_owner"),)),
    Probe("as the control plane", "connections", "escalate", "", connect=(("user", "{operator}"),)),
    Probe("as the superuser", "connections", "escalate", "", connect=(("user", "postgres"),)),
    Probe("replication", "connections", "escalate", "", connect=(("replication", "database"),), paths=("direct",)),
]  # fmt: skip
