"""`manage.py direct_access`."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandParser

from tenants import pooling
from tenants.exceptions import ClusterUnusable
from tenants.hardening.prepare import superuser_dsn
from tenants.management.base import ControlPlaneCommand
from tenants.management.lookup import find_pooler
from tenants.management.output import Output
from tenants.models import Pooler

URL_VARIABLE = "CLUSTER_SUPERUSER_URL"


class Command(ControlPlaneCommand):
    help = (
        "Close a server to tenants, so that they reach only its pooler, or open it again; without either, say how it "
        "is.\n\n"
        "It is done by lines at the top of the server's pg_hba.conf. With a superuser's connection string in "
        f"{URL_VARIABLE}, and that file on this machine, they are put there and read by the server now. Otherwise they "
        "are printed for whoever keeps that file. In either case a tenant's login is then tried at the server, and "
        "again by beat: what that found is shown, and when it is not what was wanted this ends with 2. Sessions that "
        "are there go on; the control plane's own logins are not touched."
    )
    examples = """
  manage.py direct_access default                 # how it is, and the lines
  manage.py direct_access default --close
  manage.py direct_access default --open
"""

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cluster", help="the cluster, which must have a pooler")
        wish = parser.add_mutually_exclusive_group()
        wish.add_argument("--close", action="store_const", const="closed", dest="door", help="tenants: the pooler only")
        wish.add_argument("--open", action="store_const", const="open", dest="door", help="tenants: also the server")

    def run(self, **options: Any) -> dict[str, Any]:
        pooler = find_pooler(options["cluster"])
        applied = False
        if options["door"]:
            url = os.environ.get(URL_VARIABLE, "")
            superuser = superuser_dsn(url, pooler.cluster) if url else None
            applied = pooling.set_direct(
                pooler=pooler, door=options["door"], superuser=superuser, **self.caller
            ).applied
        else:
            pooling.note_direct(pooler)
        if pooler.direct_found and pooler.direct_found != pooler.direct_wanted:
            self.failure = ClusterUnusable(f"Direct access is {pooler.direct_found}, not {pooler.direct_wanted}.")
        return self._document(pooler, applied=applied)

    def _document(self, pooler: Pooler, *, applied: bool) -> dict[str, Any]:
        return {
            "cluster": pooler.cluster.name,
            "wanted": pooler.direct_wanted,
            "found": pooler.direct_found,
            "applied": applied,
            "lines": pooling.hba_lines(pooler),
            "advice": pooling.advice(pooler),
        }

    def show(self, document: dict[str, Any], out: Output, **options: Any) -> None:
        found = document["found"] or "not known: there is no tenant to try it with"
        out.facts(f"Direct access to {document['cluster']}", {"wanted": document["wanted"], "found": found})
        if not document["applied"]:
            out.line("First in the server's pg_hba.conf while it is closed, then pg_reload_conf():")
            out.line(document["lines"])
        if document["advice"]:
            out.remark(document["advice"])
