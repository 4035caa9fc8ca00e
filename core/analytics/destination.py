"""Where a webhook may go, and how it is sent there: to the address that was checked and to no other.

A workspace chooses the URL, this installation makes the request. So nothing in this house may be reached by it: the
loopback, private and link-local networks, the metadata services of clouds. A name is resolved once; every address that it
has must be public; the connection goes to that very address, so that a name which changes its mind changes nothing. No
proxy, no redirect, no credentials in the URL, five seconds for all of it, and of the answer only its status is kept.

Source of the ranges: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), as Python's `ipaddress` has them;
for IPv6 only 2000::/3 is handed out at all (RFC 4291 §2.4), less what carries an IPv4 address inside.
"""

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import InvalidInputError, RmnError, UnavailableError

TIMEOUT_S = 5.0
READ_BYTES = 1024
URL_LETTERS = 2000
PORTS = {"http": 80, "https": 443}
_HANDED_OUT = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        # 6to4 and Teredo lead to an IPv4 address inside; the others are for documents and for relays.
        ("2002::/16", "2001::/23", "2001:db8::/32", "3fff::/20", "192.88.99.0/24"),
    )
)


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL in its parts. `path` has the query with it."""

    scheme: str
    host: str
    port: int
    path: str


def destination_of(url: str) -> Destination:
    """Read a URL. Raises InvalidInputError for what a webhook cannot have. Resolves nothing."""
    if (
        not 0 < len(url) <= URL_LETTERS
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or "\\" in url
    ):
        raise _refused(f"It has 1 to {URL_LETTERS} letters of ASCII and no space in it.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("It cannot be read.") from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    if scheme not in PORTS:
        raise _refused("It begins with https:// or http://.")
    if "@" in parts.netloc:
        raise _refused("It has no name and no password in it: they would end up in logs.")
    if not host or "%" in host or port == 0:
        raise _refused("It names a host, and maybe a port from 1 to 65535.")
    if parts.fragment:
        raise _refused("What follows # is not sent to anybody.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(scheme, host, port or PORTS[scheme], path)


def is_public(address: str) -> bool:
    """Whether an address, as the system's resolver writes it, belongs to the public internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped
        if inside is None and ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
        if ip not in _HANDED_OUT:
            return False
    if any(ip.version == network.version and ip in network for network in _NEVER):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def checked_addresses(
    destination: Destination, allowed_hosts: Collection[str] = (), *, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """The addresses of the host, all of them public, or of a host that the settings name.

    Raises InvalidInputError where one is not public, UnavailableError where the name cannot be resolved.
    """
    addresses = _resolve(destination, timeout_s)
    if destination.host in allowed_hosts or f"{destination.host}:{destination.port}" in allowed_hosts:
        return addresses
    if not all(map(is_public, addresses)):
        raise _refused(
            "Its host is not on the public internet. RMN_WEBHOOK_HOSTS names hosts that may be used still."
        )
    return addresses


def post(
    destination: Destination,
    body: bytes,
    headers: Mapping[str, str],
    allowed_hosts: Collection[str] = (),
    *,
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> int:
    """Send it; the status that was answered, whatever it is. Raises InvalidInputError as `checked_addresses` does, and
    UnavailableError where no answer came in time."""
    deadline = time.monotonic() + timeout_s
    addresses = checked_addresses(destination, allowed_hosts, timeout_s=timeout_s)
    try:
        connection = _connect(destination, addresses[0], deadline, tls)
    except (OSError, ssl.SSLError) as error:
        raise _unreachable(error) from None
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, [connection.sock])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", destination.path, body=body, headers=dict(headers))
        with connection.getresponse() as answer:
            if time.monotonic() >= deadline:  # cut off, half an answer reads like a whole one
                raise TimeoutError
            with suppress(OSError, http.client.HTTPException):
                answer.read(READ_BYTES)
            return answer.status
    except (OSError, http.client.HTTPException) as error:
        late = time.monotonic() >= deadline
        raise _unreachable(TimeoutError() if late else error) from None
    finally:
        watchdog.cancel()
        connection.close()


def _connect(
    destination: Destination, address: str, deadline: float, tls: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    """A connection to this address that says the host's name, in TLS and in HTTP."""
    left = max(0.05, deadline - time.monotonic())
    raw = socket.create_connection((address, destination.port), timeout=left)
    try:
        raw.settimeout(max(0.05, deadline - time.monotonic()))
        if destination.scheme == "https":
            context = tls or ssl.create_default_context()
            raw = context.wrap_socket(raw, server_hostname=destination.host)
    except BaseException:
        raw.close()
        raise
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    usual = PORTS[destination.scheme] == destination.port
    connection = http.client.HTTPConnection(host, None if usual else destination.port)
    if usual:
        connection.port = connection.default_port  # so that the Host header names no port
    connection.sock = raw
    return connection


def _cut(sock: socket.socket) -> None:
    """End what reads or writes there, also within TLS."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _resolve(destination: Destination, timeout_s: float) -> list[str]:
    """In a thread of its own: the system's resolver knows no time limit."""
    found: queue.Queue[list[str] | OSError | UnicodeError] = queue.Queue(1)

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(destination.host, destination.port, type=socket.SOCK_STREAM)
            found.put(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=ask, name="resolve-webhook", daemon=True).start()
    try:
        addresses = found.get(timeout=timeout_s)
    except queue.Empty:
        addresses = []
    if isinstance(addresses, Exception) or not addresses:
        raise UnavailableError(
            "The host of the webhook is not known.",
            "Its name has no address, or nobody answered in time.",
            "Look at its spelling.",
        )
    return addresses


def _refused(why: str) -> RmnError:
    return InvalidInputError("This address cannot be a webhook.", why, "Give another address.")


def _unreachable(error: Exception) -> UnavailableError:
    if isinstance(error, TimeoutError):
        why = f"It did not answer within {TIMEOUT_S:g} s."
    elif isinstance(error, ssl.SSLError):
        why = "Its certificate or its TLS is not valid."
    else:
        why = f"{type(error).__name__}."
    return UnavailableError("The webhook was not reached.", why, "It is tried again.")
