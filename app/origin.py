"""Where a browser's request comes from, and whether it addressed this console by a name of its own."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def host_name(host: str | None) -> str | None:
    """The name or address in a Host header, without its port; None when it is not one."""
    match = _HOST.fullmatch(host or "")
    return None if match is None else (match["v6"] or match["name"]).lower()


def is_own_host(host: str | None, listening_on: str, allowed: list[str]) -> bool:
    """Whether the Host header names this console.

    A console that listens on the loopback address answers to loopback names only: another name that leads here
    was made to (DNS rebinding). `allowed` adds names, for a proxy in front.
    """
    name = host_name(host)
    if name is None:
        return False
    if name in allowed or listening_on not in LOOPBACK:
        return True
    return name in LOOPBACK


def is_same_origin(headers: Headers, public_url: str = "") -> bool:
    """Whether the page that sent this request is one of this console. Without an Origin it is not known, so no.

    `public_url` is the console's own origin for browsers, where a proxy puts another name into the Host header.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    if origin == "null":
        # Some pages ask their browser not to tell where they are; the browser itself still says this much.
        return headers.get("sec-fetch-site") == "same-origin"
    if public_url and origin.lower() == public_url:
        return True
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc == headers.get("host")
