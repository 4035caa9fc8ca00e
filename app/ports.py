"""Finding a port to listen on."""

import socket
from contextlib import closing

from core.errors import UnavailableError

TRIES = 50


def is_free(host: str, port: int) -> bool:
    """Whether nothing listens there. Binding tells; asking for a connection would miss a socket that is not accepting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def next_free_port(host: str, wanted: int) -> int:
    """`wanted` or the first free port after it. Raises UnavailableError when none of the next fifty is free."""
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if is_free(host, port):
            return port
    raise UnavailableError(
        f"No port from {wanted} to {wanted + TRIES - 1} is free on {host}.",
        "Other programs listen on all of them, or this address is not of this machine.",
        "Set RMN_PORT to a free port, or RMN_HOST to 127.0.0.1.",
    )
