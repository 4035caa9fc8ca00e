"""A taken port is passed over."""

import socket

import pytest

from app.ports import next_free_port
from core.errors import UnavailableError


def test_a_taken_port_gives_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert next_free_port("127.0.0.1", port) > port


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(UnavailableError, match="not of this machine"):
        next_free_port("192.0.2.1", 8501)
