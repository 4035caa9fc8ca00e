"""Rows 6 to 8, 10 and 11: keys, tokens, sessions, and requests that other sites make a browser send."""

import base64
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.actions import people
from app.api.application import build_api
from app.asgi import screen_policy
from app.bootstrap import Console, build_console, utc_now
from app.credentials import SESSION_COOKIE
from app.guard import Guard
from app.prepare import ensure_ready
from app.sign_in import sign_in_routes
from core.errors import BusyError, NotAuthenticatedError
from core.settings import Settings
from core.tenants.records import Role

Workspace = Any
PASSWORD = "four plain words here"
OWN_ORIGIN = "http://127.0.0.1"
SOCKET = "ws://127.0.0.1/_stcore/stream"
WEAK = ["", "admin", "password", "admin@demo.example"]


@pytest.fixture
def site(console: Console) -> TestClient:
    """Guard, sign-in and API as the console has them; behind the guard everything else answers: «reached»."""

    async def screens(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).accept()
        else:
            await PlainTextResponse("reached")(scope, receive, send)

    routes = [*sign_in_routes(console), Mount("/api", app=build_api(console)), Mount("/", app=screens)]
    app = Guard(Starlette(routes=routes), console=console, page_policy=screen_policy())
    return TestClient(app, base_url=OWN_ORIGIN, follow_redirects=False)


@pytest.fixture
def sign_in(console: Console, ours: Workspace, site: TestClient) -> Callable[..., Any]:
    people.set_password(console, ours.principal(), ours.users[Role.TRAINER], PASSWORD)

    def sign(cookie: str | None = None, **headers: str) -> Any:
        site.cookies.clear()
        sent = {"origin": OWN_ORIGIN, **headers} | (
            {"cookie": f"{SESSION_COOKIE}={cookie}"} if cookie else {}
        )
        form = {"email": f"trainer@{ours.slug}.example", "password": PASSWORD, "workspace": ours.slug}
        answer = site.post("/sign-in", data=form, headers=sent)
        site.cookies.clear()
        return answer

    return sign


def token_of(answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    return str(answer.cookies[SESSION_COOKIE])


def signed_in(console: Console, token: str) -> bool:
    return people.principal_of_session(console, token) is not None


def test_row_06_keys_and_tokens_cannot_be_had_from_the_database(
    console: Console, ours: Workspace, sign_in: Callable[..., Any], tmp_path: Path
) -> None:
    token = token_of(sign_in())
    link = people.make_sign_in_link(console, ours.principal(), ours.users[Role.ADMIN]).partition("token=")[2]
    copy = tmp_path / "stolen.sqlite"
    source, target = sqlite3.connect(console.settings.home / "rmn.sqlite"), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    files = [copy, *(file for file in console.settings.home.rglob("*") if file.is_file())]
    stolen = b"".join(file.read_bytes() for file in files)
    for secret in [*ours.keys.values(), token, link, PASSWORD]:
        assert secret.encode() not in stolen
        assert base64.b64encode(secret.encode()) not in stolen
        assert secret.removeprefix("rmn_")[10:].encode() not in stolen
    assert b"$argon2id$" in stolen
    # What is stored in place of a credential is none.
    connection = sqlite3.connect(copy)
    hashes = [
        row[0]
        for table, column in (("api_keys", "secret_hash"), ("web_sessions", "token_hash"))
        for row in connection.execute(f"SELECT {column} FROM {table}")
    ]
    connection.close()
    assert len(hashes) > 4
    assert not any(people.principal_of_key(console, f"rmn_{each[:43]}") for each in hashes)
    assert not any(signed_in(console, each) for each in hashes)


def test_row_06_no_answer_shows_a_key_again(api: TestClient, console: Console, ours: Workspace) -> None:
    shown = repr(people.list_keys(console, ours.principal()))
    for secret in ours.keys.values():
        assert secret not in shown
        for path in ("/adapters", "/datasets", "/training/jobs", "/v1/models"):
            assert secret[12:] not in api.get(path, headers={"x-api-key": secret}).text


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_row_07_a_token_that_signs_for_itself_is_no_credential(
    api: TestClient, console: Console, ours: Workspace, site: TestClient
) -> None:
    """Credentials are random bits that are looked up; nothing that a client says about itself is believed."""
    claims = {"sub": ours.users[Role.ADMIN], "tenant": ours.tenant_id, "role": "admin", "exp": 4_000_000_000}
    key = ours.keys[Role.VIEWER]
    forged = [
        unsigned({"alg": "none", "typ": "JWT"}, claims),
        unsigned({"alg": "HS256", "kid": "../../dev/null"}, claims, b"\0" * 32),
        unsigned({"alg": "RS256", "jwk": {"kty": "oct", "k": "AA"}}, claims, b"x" * 64),
        ours.key_ids[Role.ADMIN],
        key[:-1] + ("A" if key[-1] != "A" else "B"),
        key.lower() if key.lower() != key else key.upper(),
        key + "A",
        key[:12],
        "rmn_" + "=" * 43,
        f"rmn_{'A' * 43}' OR '1'='1",
        "%" * 47,
    ]
    for token in forged:
        for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
            assert api.get("/adapters", headers=headers).status_code == 401, token
        assert not signed_in(console, token)
        answer = site.get("/overview", headers={"cookie": f"{SESSION_COOKIE}={token}"})
        assert answer.status_code == 401
    for place in (f"/adapters?api_key={key}", f"/adapters?key={key}&access_token={key}"):
        assert api.get(place).status_code == 401
    assert api.get("/adapters", headers={"cookie": f"{SESSION_COOKIE}={key}"}).status_code == 401


def test_row_08_a_new_installation_has_no_password_and_no_key(tmp_path: Path, tiny_base: Path) -> None:
    settings = Settings(home=tmp_path / "home", base_model=str(tiny_base))
    workspace = ensure_ready(settings, lambda _: None)
    connection = sqlite3.connect(settings.home / "rmn.sqlite")
    people_with_password = connection.execute("SELECT count(*) FROM users WHERE password_hash IS NOT NULL")
    assert people_with_password.fetchone() == (0,)
    for table in ("api_keys", "web_sessions", "sign_in_links"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    emails = [row[0] for row in connection.execute("SELECT email FROM users")]
    connection.close()
    console = build_console(settings)
    try:
        for email in emails:
            for password in WEAK:
                with pytest.raises((NotAuthenticatedError, BusyError)):
                    people.sign_in(console, email, password, tenant_slug=workspace.tenant_slug)
        for secret in ("rmn_", "rmn_" + "0" * 43, "admin"):
            assert people.principal_of_key(console, secret) is None
    finally:
        console.close()


def test_row_10_a_token_that_was_planted_before_the_sign_in_stays_worthless(
    console: Console, sign_in: Callable[..., Any]
) -> None:
    planted = "A" * 43
    token = token_of(sign_in(cookie=planted))
    assert token != planted
    assert signed_in(console, token)
    assert not signed_in(console, planted)
    assert token_of(sign_in(cookie=token)) != token


def test_row_10_signing_out_ends_a_session_in_every_tab_and_for_every_copy(
    console: Console, site: TestClient, sign_in: Callable[..., Any]
) -> None:
    token, other = token_of(sign_in()), token_of(sign_in())
    cookie = {"cookie": f"{SESSION_COOKIE}={token}"}
    assert site.get("/overview", headers=cookie).text == "reached"
    assert site.post("/sign-out", headers={**cookie, "origin": OWN_ORIGIN}).status_code == 303
    assert site.get("/overview", headers=cookie).status_code == 401
    assert not signed_in(console, token)
    assert signed_in(console, other)


def test_row_10_a_session_ends_with_its_time_and_with_its_account(
    console: Console, ours: Workspace, sign_in: Callable[..., Any]
) -> None:
    token = token_of(sign_in())
    hours = timedelta(hours=console.settings.session_hours)
    later = replace(console, clock=lambda: utc_now() + hours + timedelta(seconds=1))
    sooner = replace(console, clock=lambda: utc_now() + hours - timedelta(minutes=1))
    assert signed_in(sooner, token)
    assert not signed_in(later, token)
    people.deactivate_user(console, ours.principal(), ours.users[Role.TRAINER])
    assert not signed_in(console, token)


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "http://127.0.0.1.evil.example"},
    {"origin": "http://127.0.0.1:8502"},
    {"origin": "null"},
    {"origin": "file://"},
    {"origin": ""},
    {},
    {"origin": "http://localhost"},
    {"origin": "http://127.0.0.1@evil.example"},
    {"referer": "http://127.0.0.1/overview"},
]


def test_row_11_a_request_that_another_site_sent_is_refused_and_changes_nothing(
    console: Console, site: TestClient, sign_in: Callable[..., Any]
) -> None:
    token = token_of(sign_in())
    for sent in FOREIGN:
        headers = {**sent, "cookie": f"{SESSION_COOKIE}={token}"}
        for path in ("/sign-in", "/sign-out", "/sign-in/link", "/_stcore/upload_file/a/b"):
            answer = site.post(path, headers=headers, data={"token": "x"})
            assert answer.status_code == 403, (path, sent)
        with pytest.raises(WebSocketDisconnect), site.websocket_connect(SOCKET, headers=headers):
            pass
    assert signed_in(console, token)


def test_row_11_a_socket_of_our_own_page_needs_a_session_too(
    site: TestClient, sign_in: Callable[..., Any]
) -> None:
    own = {"origin": OWN_ORIGIN}
    with pytest.raises(WebSocketDisconnect), site.websocket_connect(SOCKET, headers=own):
        pass
    cookie = {"cookie": f"{SESSION_COOKIE}={token_of(sign_in())}"}
    with site.websocket_connect(SOCKET, headers=own | cookie):
        pass


def test_row_11_the_api_lets_no_other_site_read_or_ask(site: TestClient, ours: Workspace) -> None:
    """A browser adds the session's cookie by itself; the API takes keys alone, and no key by cookie."""
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = site.options("/api/inference", headers=asked)
    assert answer.status_code in (401, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]
