"""Closing the server's own door to tenants, so that they reach only the pooler: lines of pg_hba.conf, and a try."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from django.db import transaction
from psycopg import Connection

from tenants import audit, clusters
from tenants.actors import Actor, Source
from tenants.exceptions import ClusterUnavailable, ClusterUnusable, Conflict, InvalidInput
from tenants.models import Pooler, TenantRole
from tenants.postgres import Dsn, connect

Door = Pooler.Door
RELOAD_SECONDS = 3.0
BLOCK = "# -- control plane: tenants of {dbname} --\n{lines}# -- end: tenants of {dbname} --\n"


@dataclass(frozen=True)
class Answer:
    """What became of the wish: the lines that do it, whether they are in force, and what a try found."""

    pooler: Pooler
    lines: str
    applied: bool


def hba_lines(pooler: Pooler) -> str:
    """What stands first in the server's pg_hba.conf while tenants may come through the pooler alone.

    It comes by the server's socket, or from its own address. Raises InvalidInput when that is not to be found.
    """
    own = pooler.cluster.dsn()
    dbname, user = (f'"{name}"' for name in (own.dbname.replace('"', ""), own.user.replace('"', "")))
    # The control plane's login administers the tenants' groups, and counts as a member of them here.
    lines = [f"{kind} all {user} {address}scram-sha-256" for kind, address in (("local", ""), ("host", "all "))]
    host, _ = pooler.server_address()
    # Its own tenants, and those with databases of their own on its server, whichever these are.
    for where, who in ((dbname, "+cp_tenants"), ("all", f"+{clusters.guests_of(own.dbname)}")):
        if host.startswith("/"):
            lines += [f"local {where} {who} scram-sha-256"]
        else:
            lines += [f"host {where} {who} {address} scram-sha-256" for address in _addresses(pooler.host)]
            lines += [f"local {where} {who} reject"]
        lines += [f"host {where} {who} all reject"]
    return "\n".join([*lines, ""])


def _addresses(host: str) -> list[str]:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise InvalidInput(f"The pooler's address {host} cannot be found.", field="host") from error
    return sorted(f"{address}/{ipaddress.ip_address(address).max_prefixlen}" for address in found)


def advice(pooler: Pooler) -> str:
    """What these lines cannot do; empty when they do it."""
    host, _ = pooler.server_address()
    if host.startswith("/"):
        return ""
    if all(ipaddress.ip_address(address.split("/")[0]).is_loopback for address in _addresses(pooler.host)):
        return "The pooler comes over this machine's own address: so can any tenant on it. Use the server's socket."
    return ""


def try_direct(pooler: Pooler) -> str:
    """Whether a tenant's login gets in at the server itself: `open` or `closed`; empty without a tenant to try it with.

    A real try, where the control plane connects, by one of the database's tenants and one who has its own. Raises
    ClusterUnavailable.
    """
    usable = TenantRole.objects.exclude(secret="").order_by("state").select_related("tenant__cluster")
    shared = usable.filter(tenant__cluster=pooler.cluster).first()
    own = usable.filter(tenant__cluster__host_cluster=pooler.cluster).first()
    found = {_try_with(role) for role in (shared, own) if role is not None}
    return Door.OPEN if Door.OPEN in found else Door.CLOSED if found else ""


def _try_with(role: TenantRole) -> Pooler.Door:
    dsn = role.tenant.cluster.dsn().replace(user=role.name, password=role.password())
    try:
        psycopg.connect(dsn.conninfo(application_name="controlplane direct access")).close()
    except psycopg.OperationalError as error:
        text = str(error)
        if "pg_hba.conf" in text:
            return Door.CLOSED
        if "FATAL" not in text:
            raise ClusterUnavailable("The server cannot be tried.") from error
    return Door.OPEN


def note_direct(pooler: Pooler) -> str:
    """Try it and note what was found."""
    found = try_direct(pooler)
    Pooler.objects.filter(pk=pooler.pk).update(direct_found=found)
    pooler.direct_found = found
    return found


def set_direct(*, pooler: Pooler, door: str, superuser: Dsn | None = None, actor: Actor, source: Source) -> Answer:
    """Close the server's own door to the tenants of this pooler's cluster, or open it again.

    With a superuser's address of a server on this machine its pg_hba.conf is changed and read again, here and now;
    otherwise the answer holds the lines for whoever keeps that file. While it is to be closed each check tries it.
    Sessions that are there go on. Raises InvalidInput, Conflict when the pooler does not work, ClusterUnusable when the
    server refuses the lines.
    """
    if door not in Door.values:
        raise InvalidInput("It is open or closed.", field="door")
    if door == Door.CLOSED and pooler.state != Pooler.State.UP:
        raise Conflict("The pooler does not work: tenants would reach nothing.", code="pooler_down")
    lines = hba_lines(pooler)
    applied = superuser is not None
    if superuser is not None:
        _apply(pooler, superuser, lines if door == Door.CLOSED else "")
    with transaction.atomic():
        before = {"wanted": pooler.direct_wanted}
        Pooler.objects.filter(pk=pooler.pk).update(direct_wanted=door)
        pooler.direct_wanted = door
        audit.record(
            "pooler.direct_access", actor=actor, source=source, target=pooler, before=before,
            after={"cluster": pooler.cluster.name, "wanted": door, "applied": applied},
        )  # fmt: skip
    limit = time.monotonic() + (RELOAD_SECONDS if applied else 0)
    while note_direct(pooler) not in (door, "") and time.monotonic() < limit:
        time.sleep(0.1)
    return Answer(pooler, lines, applied)


def _apply(pooler: Pooler, superuser: Dsn, lines: str) -> None:
    dbname = pooler.cluster.dsn().dbname
    with connect(superuser, autocommit=True, application_name="controlplane direct access") as session:
        path, before = _hba_file(session)
        head = BLOCK.format(dbname=dbname, lines="(.*?)")
        pattern = re.escape(head).replace(re.escape("(.*?)"), ".*?")
        after = re.sub(pattern, "", before, flags=re.DOTALL)
        after = (BLOCK.format(dbname=dbname, lines=lines) if lines else "") + after
        if after == before:
            return
        _replace(path, after)
        wrong = session.execute("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL").fetchone()
        if wrong:
            _replace(path, before)
            raise ClusterUnusable(f"The server refuses line {wrong[0]} of its pg_hba.conf: {wrong[1]}.")
        session.execute("SELECT pg_reload_conf()")


def _hba_file(session: Connection[Any]) -> tuple[Path, str]:
    """The server's pg_hba.conf, which must be this machine's, and its text."""
    row = session.execute("SELECT current_setting('hba_file'), pg_read_file(current_setting('hba_file'))").fetchone()
    path, text = (Path(row[0]), str(row[1])) if row else (Path(), "")
    try:
        here = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        here = ""
    if here != text or not os.access(path, os.W_OK):
        raise ClusterUnusable(
            f"{path} is not on this machine, or not ours to write.",
            hint="Leave the superuser out, put the lines into that file yourself, and have the server reload.",
        )
    return path, text


def _replace(path: Path, text: str) -> None:
    """In one step, with the same owner and mode."""
    like = path.stat()
    descriptor, name = tempfile.mkstemp(prefix=".pg_hba.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
        if os.geteuid() == 0:
            os.fchown(handle.fileno(), like.st_uid, like.st_gid)
        os.fchmod(handle.fileno(), like.st_mode & 0o777)
        handle.flush()
        os.fsync(handle.fileno())
    Path(name).replace(path)
