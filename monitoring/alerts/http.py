"""One POST to a place that an operator has named, and to nowhere else: no request of ours is to reach what only we can.

The name is resolved once, every address of it must be allowed, and the connection is made to the one that was checked.
There are no redirects and no proxies, the answer is read to a small bound, and the whole has an end.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from tenants.exceptions import ControlPlaneError, InvalidInput

CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 15.0
ANSWER_BYTES = 4096
MAX_URL = 2000
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class DeliveryFailed(ControlPlaneError):
    """The message could not be delivered."""

    code, status = "delivery_failed", 502


class AddressRefused(DeliveryFailed):
    """The address is a private one, or none that is to be connected to."""

    code, status = "address_refused", 422


@dataclass(frozen=True)
class Answer:
    """What a server answered: its status, and the beginning of what it said."""

    status: int
    text: str


def check_url(url: str, *, field: str = "url") -> SplitResult:
    """The URL's parts, if it is one that could be posted to. Raises InvalidInput."""
    wrong = "A URL is like https://hooks.example.com/path, without a user in it."
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(wrong, field=field)
    try:
        parts = urlsplit(url)
        bad_port = parts.port == 0
    except ValueError as error:
        raise InvalidInput(wrong, field=field) from error
    if bad_port or parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or "@" in parts.netloc:
        raise InvalidInput(wrong, field=field)
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """POST `body`. Raises DeliveryFailed when there was no answer, AddressRefused when it may not be connected to,
    InvalidInput for what is no URL. Whatever was answered is returned."""
    parts = check_url(url)
    address, port = resolve(parts)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc, "User-Agent": "tenant-control-plane", "Connection": "close", **headers}
    try:
        with _connected(address, port) as raw:
            connection = _connection(parts, address, port)
            connection._new_conn = lambda: raw  # type: ignore[method-assign]
            connection.request("POST", target, body=body, headers=sent, preload_content=False, decode_content=False)
            response = connection.getresponse()
            text = response.read(ANSWER_BYTES, decode_content=False).decode("utf-8", "replace")
            return Answer(response.status, text)
    except (HTTPError, OSError, ValueError) as error:
        raise DeliveryFailed(f"{parts.hostname} cannot be reached: {_reason(error)}.") from error


def resolve(parts: SplitResult) -> tuple[Address, int]:
    """An address of the URL's host that may be connected to, and the port. Raises AddressRefused, DeliveryFailed."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryFailed(f"There is no address of {parts.hostname}.") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        _check(address, parts)
    return addresses[0], port


def _check(address: Address, parts: SplitResult) -> None:
    if _listed(address):
        return
    hint = "NOTIFY_ALLOWED_NETWORKS lists the private networks that may be connected to."
    if not is_public(address):
        raise AddressRefused(f"{parts.hostname} is not a public address.", hint=hint)
    if parts.scheme != "https":
        raise AddressRefused("Messages leave by https only.", hint=hint)


def _listed(address: Address) -> bool:
    inner = _inner(address)
    networks = [ipaddress.ip_network(network) for network in settings.NOTIFY_ALLOWED_NETWORKS]
    return any(inner.version == network.version and inner in network for network in networks)


def _inner(address: Address) -> Address:
    """The IPv4 address that one of IPv6 stands for, where it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address
    return address


def is_public(address: Address) -> bool:
    """Whether an address is anybody's on the internet: none of this machine, of a private network or of metadata."""
    every = (address, _inner(address))
    return all(one.is_global and not one.is_multicast and not one.is_reserved for one in every) or (
        address in _NAT64 and _inner(address).is_global and not _inner(address).is_multicast
    )


def _connection(parts: SplitResult, address: Address, port: int) -> HTTPConnection:
    if parts.scheme == "http":
        return HTTPConnection(str(address), port, timeout=CONNECT_SECONDS)
    return HTTPSConnection(
        str(address), port, timeout=CONNECT_SECONDS, server_hostname=parts.hostname,
        ssl_context=ssl.create_default_context(),
    )  # fmt: skip


@contextmanager
def _connected(address: Address, port: int) -> Iterator[socket.socket]:
    """A connection for TOTAL_SECONDS: whoever answers a byte at a time is cut off then, in the midst of TLS as well."""
    end = time.monotonic() + TOTAL_SECONDS
    with socket.create_connection((str(address), port), CONNECT_SECONDS) as raw, raw.dup() as same:

        def cut() -> None:
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(end - time.monotonic(), cut)
        timer.daemon = True
        timer.start()
        try:
            yield raw
        finally:
            timer.cancel()
            cut()
    if time.monotonic() >= end:
        raise DeliveryFailed("The answer took too long.")


def _reason(error: Exception) -> str:
    inner = error.__cause__ or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({inner.verify_message})"
    return (getattr(inner, "strerror", None) or type(inner).__name__)[:200]
