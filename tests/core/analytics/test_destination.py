"""Where webhooks may go: every way into this house is refused, and the checked address is the one that is used."""

import ipaddress
import socket
import ssl
import time
from typing import Any

import pytest

from core.analytics.destination import Destination, checked_addresses, destination_of, is_public, post
from core.errors import InvalidInputError, UnavailableError
from tests.core.analytics.hook_server import receiver

INSIDE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "localhost",
    "",
]
OUTSIDE = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_inside_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [*OUTSIDE, "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:a9fe:a9fe]",
        "169.254.169.254",
        "2852039166",
        "10.1.2.3",
        "0xa.1",
        "192.168.1.1",
        "[fe80::1]",
        "[fd12::1]",
    ],
)
def test_every_way_to_write_an_address_inside_is_refused(host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises((InvalidInputError, UnavailableError)) as caught:
            checked_addresses(destination_of(f"{scheme}://{host}/x"))
        # What this system resolves at all is refused for what it is.
        if isinstance(caught.value, UnavailableError):
            with pytest.raises(OSError, match=r"\w"):
                socket.getaddrinfo(host.strip("[]"), 80)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https://user:pw@example.com/",
        "https://user@example.com/",
        "https://@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exam ple.com/",
        "https://example.com/\r\nhost: inside",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/#127.0.0.1",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://exämple.com/",
        "https://example.com/" + "x" * 2000,
    ],
)
def test_urls_that_no_webhook_has_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        destination_of(url)


def test_a_url_in_its_parts() -> None:
    assert destination_of("https://Hooks.Example.com./a/b?c=d") == Destination(
        "https", "hooks.example.com", 443, "/a/b?c=d"
    )
    assert destination_of("http://example.com:8080") == Destination("http", "example.com", 8080, "/")


def resolver(answers: list[list[str]], asked: list[str]) -> Any:
    """Stands for the name service alone: it gives these addresses in turn."""

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in found
        ]

    return getaddrinfo


def test_one_address_inside_among_several_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    there = destination_of("https://hooks.example.com/")
    monkeypatch.setattr(socket, "getaddrinfo", resolver([["8.8.8.8"]], []))
    assert checked_addresses(there) == ["8.8.8.8"]
    for inside in ("10.0.0.1", "::1", "::ffff:10.0.0.1"):
        monkeypatch.setattr(socket, "getaddrinfo", resolver([["8.8.8.8", inside]], []))
        with pytest.raises(InvalidInputError):
            checked_addresses(there)


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name has a public address when it is checked and this machine's at once after (DNS rebinding)."""
    asked: list[str] = []
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    with receiver() as hook:
        monkeypatch.setattr(socket, "getaddrinfo", resolver([["8.8.8.8"], ["127.0.0.1"]], asked))
        monkeypatch.setattr(socket, "create_connection", connect)
        with pytest.raises(UnavailableError):
            post(destination_of(f"http://hooks.example.com:{hook.port}/"), b"{}", {})
        assert hook.got == []
    assert connected == [("8.8.8.8", hook.port)]
    assert asked == ["hooks.example.com"]


def test_a_message_arrives_with_the_hosts_name_and_nothing_is_asked_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiver() as hook:
        status = post(destination_of(hook.url), b'{"a":1}', {"x-one": "two"}, hook.allowed)
        ((path, headers, body),) = hook.got
    assert (status, path, body) == (204, "/hook?x=1", b'{"a":1}')
    assert (headers["host"], headers["x-one"]) == (f"localhost:{hook.port}", "two")


def test_a_host_is_allowed_by_its_name_or_with_its_port_alone() -> None:
    with receiver() as hook:
        there = destination_of(hook.url)
        assert post(there, b"", {}, {"localhost"}) == 204
        for others in ((), {"localhost:1"}, {"127.0.0.1"}, {"ocalhost"}):
            with pytest.raises(InvalidInputError, match="public"):
                post(there, b"", {}, others)
        assert len(hook.got) == 1


def test_redirects_are_not_followed() -> None:
    with receiver() as inside, receiver(answers=[302], location=inside.url) as hook:
        assert post(destination_of(hook.url), b"", {}, hook.allowed | inside.allowed) == 302
        assert inside.got == []


def test_a_receiver_that_drips_is_cut_off_and_a_long_answer_is_not_read() -> None:
    with receiver(drip_s=0.05) as hook:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="not reached"):
            post(destination_of(hook.url), b"", {}, hook.allowed, timeout_s=0.6)
        assert 0.4 < time.monotonic() - began < 2
    with receiver(drip_s=0.01) as hook:  # its status is there in time, the rest never is
        with pytest.raises(UnavailableError) as caught:
            post(destination_of(hook.url), b"", {}, hook.allowed, timeout_s=0.6)
        assert "did not answer" in caught.value.why
    with receiver(answers=[200], body=b"x" * 50_000_000) as hook:
        began = time.monotonic()
        assert post(destination_of(hook.url), b"", {}, hook.allowed) == 200
        assert time.monotonic() - began < 3


def test_one_that_does_not_answer_or_is_not_there_is_said_to_be_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UnavailableError) as caught:
            post(destination_of(f"http://localhost:{port}/"), b"", {}, {"localhost"}, timeout_s=0.3)
        assert "did not answer" in caught.value.why
    with pytest.raises(UnavailableError):
        post(destination_of(f"http://localhost:{port}/"), b"", {}, {"localhost"})
    with pytest.raises(UnavailableError, match="not known"):
        checked_addresses(destination_of("http://no-such-host.invalid/"))


def test_a_receiver_without_a_valid_certificate_is_not_told(tmp_path: Any) -> None:
    with receiver() as hook:  # it speaks no TLS at all
        with pytest.raises(UnavailableError) as caught:
            post(
                destination_of(hook.url.replace("http:", "https:")), b"secret", {}, hook.allowed, timeout_s=2
            )
        assert "TLS" in caught.value.why
        assert hook.got == []
    assert ssl.create_default_context().check_hostname


def test_the_ranges_of_the_registry_are_all_inside() -> None:
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
    ):
        known = ipaddress.ip_network(network)
        for address in (known[0], known[1], known[-2], known[-1]):
            assert not is_public(str(address))
            if address.version == 4:
                assert not is_public(f"::ffff:{address}")
