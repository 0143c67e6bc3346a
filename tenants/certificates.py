"""When the certificates end that servers show: looked up by a handshake of our own once an hour, and remembered."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from datetime import datetime, timedelta

from cryptography import x509
from django.core.cache import cache
from django.utils import timezone

from tenants.exceptions import ControlPlaneError
from tenants.models import Cluster
from tenants.postgres import Dsn

log = logging.getLogger(__name__)
# `allow` prefers to do without TLS; a socket in the file system has none.
WITH_TLS = ("prefer", "require", "verify-ca", "verify-full")
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # the protocol's "may we speak TLS?"
TIMEOUT_SECONDS = 3.0
AGAIN_AFTER = timedelta(hours=1)
KEPT_SECONDS = 6 * 3600


def _key(cluster: int) -> str:
    return f"controlplane:certificate:{cluster}"


def ends_at(dsn: Dsn) -> datetime | None:
    """When the server's certificate ends; None where TLS is not spoken. It is not verified: that is what connections
    do. Raises OSError when the server does not answer."""
    if dsn.sslmode not in WITH_TLS or dsn.host.startswith("/"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((dsn.host, dsn.port), timeout=TIMEOUT_SECONDS) as plain:
        plain.sendall(SSL_REQUEST)
        if plain.recv(1) != b"S":
            return None
        with context.wrap_socket(plain, server_hostname=dsn.host) as spoken:
            shown = spoken.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).not_valid_after_utc if shown else None


def look(cluster: Cluster) -> None:
    """Remember when its certificate ends, unless that was looked up within the hour. A server that does not answer
    leaves what was known for some hours: it has alerts of its own."""
    known = cache.get(_key(cluster.pk))
    now = timezone.now()
    if known is not None and now - known[0] < AGAIN_AFTER:
        return
    try:
        found = ends_at(cluster.dsn())
    except (OSError, ValueError, ControlPlaneError) as error:
        log.warning("certificate.not_seen", extra={"cluster": cluster.name, "error": type(error).__name__})
        return
    cache.set(_key(cluster.pk), (now, found), timeout=KEPT_SECONDS)


def look_at_all() -> None:
    """The same of every server."""
    for cluster in Cluster.objects.filter(host_cluster=None):
        look(cluster)


def known() -> dict[int, datetime]:
    """When each cluster's certificate ends, as far as that was seen."""
    keys = {_key(pk): pk for pk in Cluster.objects.filter(host_cluster=None).values_list("pk", flat=True)}
    return {keys[key]: found for key, (_, found) in cache.get_many(keys).items() if found is not None}
