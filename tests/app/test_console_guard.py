"""The console as a browser and an attacker meet it: sign-in, sessions, origins, hosts, headers."""

import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from streamlit.runtime import Runtime

from app.actions import people
from app.asgi import ENTRY_SCREEN, _find_configuration, build_app, screen_policy
from app.bootstrap import Console, build_console, shared_console
from app.guard import Guard
from app.sign_in import sign_in_routes
from app.sign_in_page import PAGE_POLICY, link_page, password_page, spent_page
from app.ui.screens import OVERVIEW
from core.errors import InvalidInputError
from core.settings import Settings, load_settings
from core.tenants import audit
from core.tenants.records import Role

HERE = "http://127.0.0.1:8501"
PASSWORD = "correct horse battery"
OWN = {"origin": HERE}
PAGE = {"accept": "text/html"}
STREAM = "/_stcore/stream"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[tuple[Console, Any]]:
    home = tmp_path_factory.mktemp("guarded")
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    console = build_console(Settings(home=home))
    before, Runtime._instance = Runtime._instance, None  # Streamlit makes one per process and keeps it
    with TestClient(build_app(console), base_url=HERE, follow_redirects=False) as client:
        yield console, client
    Runtime._instance = before
    shared_console.set(None)


@pytest.fixture
def served(guarded: tuple[Console, Any]) -> Console:
    return guarded[0]


@pytest.fixture
def visitor(guarded: tuple[Console, Any]) -> Iterator[TestClient]:
    client = guarded[1]
    client.cookies.clear()
    yield client
    client.cookies.clear()


@pytest.fixture
def somebody(served: Console, new_workspace: Callable[[Console, str], Any]) -> Any:
    return new_workspace(served, "Alpha Stores")


@pytest.fixture
def link(served: Console, somebody: Any) -> str:
    url = people.make_sign_in_link(served, somebody.principal(), somebody.users[Role.TRAINER])
    assert url.startswith(f"{HERE}/sign-in/link?token=")
    return url


def sign_in(visitor: TestClient, link: str) -> str:
    """Open a link as a browser would; the session's token."""
    page = visitor.get(link)
    assert page.status_code == 200
    answer = visitor.post("/sign-in/link", data={"token": link.partition("token=")[2]}, headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
    return str(visitor.cookies["rmn_session"])


@pytest.mark.parametrize("path", ["/", "/jobs", "/admin", "/sign-in-not", "/static/js/x.js"])
def test_a_stranger_is_sent_to_the_sign_in_page(visitor: TestClient, path: str) -> None:
    answer = visitor.get(path, headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


@pytest.mark.parametrize(
    "path",
    ["/", "/_stcore/host-config", "/_stcore/metrics", "/media/x.png", "/component/x/y", "/favicon.png"],
)
def test_a_program_without_a_session_gets_401(visitor: TestClient, path: str) -> None:
    answer = visitor.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")


def test_the_first_screen_answers_under_its_name_too(visitor: TestClient, link: str) -> None:
    assert visitor.get("/overview", headers=PAGE).headers["location"] == "/sign-in"
    sign_in(visitor, link)
    answer = visitor.get("/overview?embed=true", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (307, "/?embed=true")
    assert visitor.get("/overview", headers=PAGE).headers["location"] == "/"
    assert f"pages/{ENTRY_SCREEN}.py" == OVERVIEW.path
    assert visitor.get("/jobs", headers=PAGE).status_code == 200


def test_an_address_below_a_screen_leads_to_the_screen(visitor: TestClient, link: str) -> None:
    assert visitor.get("/experiments/anything", headers=PAGE).headers["location"] == "/sign-in"
    sign_in(visitor, link)
    answer = visitor.get("/experiments/anything/else", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/experiments")
    assert visitor.get("/experiments", headers=PAGE).status_code == 200


@pytest.mark.parametrize("path", ["/%00", "/experiments%00", "/api/adapters/%00", "/api/v1/models%00"])
def test_an_address_with_a_nul_sign_is_told_in_the_shape_of_errors(visitor: TestClient, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_input"


def test_health_answers_everybody(visitor: TestClient) -> None:
    assert visitor.get("/_stcore/health").status_code == 200
    assert visitor.get("/api/health").json()["status"] == "alive"


def test_a_link_signs_in_once_and_its_preview_uses_nothing_up(visitor: TestClient, link: str) -> None:
    assert [visitor.get(link).status_code for _ in range(3)] == [200, 200, 200]
    sign_in(visitor, link)
    assert '<div id="root">' in visitor.get("/", headers=PAGE).text
    again = visitor.post("/sign-in/link", data={"token": link.partition("token=")[2]}, headers=OWN)
    assert again.status_code == 401
    assert "does not work" in again.text


def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(visitor: TestClient, link: str) -> None:
    answer = visitor.post("/sign-in/link", data={"token": link.partition("token=")[2]}, headers=OWN)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie


def test_over_https_the_cookie_is_secure(guarded: tuple[Console, Any], link: str) -> None:
    client = TestClient(guarded[1].app, base_url="https://127.0.0.1:8501", follow_redirects=False)
    token = link.partition("token=")[2]
    answer = client.post("/sign-in/link", data={"token": token}, headers={"origin": "https://127.0.0.1:8501"})
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


def test_a_password_signs_in(visitor: TestClient, served: Console, somebody: Any) -> None:
    people.set_password(served, somebody.principal(), somebody.users[Role.VIEWER], PASSWORD)
    form = {"email": f"VIEWER@{somebody.tenant.slug}.example", "password": PASSWORD}
    assert visitor.post("/sign-in", data=form, headers=OWN).status_code == 303
    assert visitor.get("/").status_code == 200


def test_a_wrong_password_says_so_and_too_many_must_wait(
    visitor: TestClient, served: Console, somebody: Any
) -> None:
    people.set_password(served, somebody.principal(), somebody.users[Role.VIEWER], PASSWORD)
    email = f"viewer@{somebody.tenant.slug}.example"
    form = {"email": email, "password": "wrong wrong wrong"}
    answers = [visitor.post("/sign-in", data=form, headers=OWN) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert "retry-after" in answers[-1].headers
    assert "wrong wrong" not in answers[0].text
    assert f'value="{email}"' in answers[0].text
    right = visitor.post("/sign-in", data={**form, "password": PASSWORD}, headers=OWN)
    assert right.status_code == 429


def test_signing_out_ends_the_session_on_the_server(visitor: TestClient, link: str) -> None:
    token = sign_in(visitor, link)
    answer = visitor.post("/sign-out", headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    visitor.cookies.set("rmn_session", token)
    assert visitor.get("/").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "'; drop table sessions; --", "A" * 5000])
def test_a_made_up_session_is_none(visitor: TestClient, token: str) -> None:
    visitor.cookies.set("rmn_session", token)
    assert visitor.get("/").status_code == 401


def test_forged_identity_headers_are_not_looked_at(visitor: TestClient, somebody: Any) -> None:
    forged = {
        "x-forwarded-user": "admin",
        "x-user": somebody.users[Role.ADMIN],
        "x-tenant-id": somebody.tenant.id,
    }
    assert visitor.get("/", headers=forged).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "file://127.0.0.1:8501"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
    ],
)
def test_forms_of_other_sites_are_refused(visitor: TestClient, link: str, headers: dict[str, str]) -> None:
    for path, form in (
        ("/sign-in", {"email": "a@b", "password": "x"}),
        ("/sign-in/link", {"token": link.partition("token=")[2]}),
    ):
        assert visitor.post(path, data=form, headers=headers).status_code == 403
    sign_in(visitor, link)
    assert visitor.post("/sign-out", headers=headers).status_code == 403
    assert visitor.put("/_stcore/upload_file/a/b", content=b"x", headers=headers).status_code == 403
    assert visitor.get("/").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"origin": "http://evil.example"}, {"origin": "null"}])
def test_the_websocket_of_another_site_is_refused(
    visitor: TestClient, link: str, headers: dict[str, str]
) -> None:
    sign_in(visitor, link)
    with pytest.raises(WebSocketDisconnect), visitor.websocket_connect(STREAM, headers=headers):
        pass


def test_the_websocket_needs_a_session(visitor: TestClient, link: str) -> None:
    with pytest.raises(WebSocketDisconnect), visitor.websocket_connect(STREAM, headers=OWN):
        pass
    token = sign_in(visitor, link)
    own = {**OWN, "host": "127.0.0.1:8501", "cookie": f"rmn_session={token}"}
    with visitor.websocket_connect(STREAM, headers=own):
        pass


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8501", "", "@127.0.0.1"]
)
def test_a_name_that_was_made_to_lead_here_is_refused(visitor: TestClient, link: str, host: str) -> None:
    sign_in(visitor, link)
    for path in ("/", "/sign-in", "/api/health"):
        assert visitor.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8501", "127.0.0.1", "[::1]:8501", "LOCALHOST"])
def test_loopback_names_lead_here(visitor: TestClient, host: str) -> None:
    assert visitor.get("/sign-in", headers={"host": host}).status_code == 200


def test_the_api_takes_no_cookie(visitor: TestClient, link: str) -> None:
    sign_in(visitor, link)
    assert visitor.get("/api/adapters").status_code == 401


def test_a_key_opens_the_api_under_its_path_and_no_screen(visitor: TestClient, somebody: Any) -> None:
    headers = somebody.headers(Role.VIEWER)
    assert visitor.get("/api/adapters", headers=headers).json() == {"items": []}
    assert visitor.get("/api/nothing", headers=headers).json()["error"]["code"] == "not_found"
    assert visitor.get("/", headers=headers).status_code == 401


def test_a_person_who_was_shut_out_is_out_at_once(
    visitor: TestClient, served: Console, somebody: Any, link: str
) -> None:
    sign_in(visitor, link)
    people.deactivate_user(served, somebody.principal(), somebody.users[Role.TRAINER])
    assert visitor.get("/").status_code == 401


def test_every_answer_carries_the_security_headers(visitor: TestClient, link: str) -> None:
    def check(answer: Any) -> str:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin")
        policy: str = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval" not in policy
        return policy

    for path in ("/", "/sign-in", link, "/api/health", "/api/adapters", "/_stcore/health", "/static/none.js"):
        check(visitor.get(path))
    sign_in(visitor, link)
    assert check(visitor.get("/", headers=PAGE)) == screen_policy()


def test_the_policy_names_the_one_inline_script_of_the_page(visitor: TestClient, link: str) -> None:
    policy = screen_policy()
    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]{43}='", directives["script-src"])
    assert directives["default-src"] == "'self'"
    assert directives["object-src"] == "'none'"
    assert "http" not in policy


def test_signing_in_and_out_is_in_the_audit_log(
    visitor: TestClient, served: Console, somebody: Any, link: str
) -> None:
    token = sign_in(visitor, link)
    visitor.post("/sign-out", headers=OWN)
    with served.database.reading() as s:
        entries = audit.list_entries(s, somebody.tenant.id)
    assert [entry.action for entry in reversed(entries)] == [
        "user.link_made",
        "session.started",
        "session.ended",
    ]
    assert token not in str(entries)
    assert link.partition("token=")[2] not in str(entries)


class Attributes(HTMLParser):
    """All tags of a page with their attributes; unclosed or misnested ones are found by counting."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


EVIL = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>'


@pytest.mark.parametrize("page", [password_page(EVIL, EVIL), link_page(EVIL), spent_page(EVIL, EVIL, EVIL)])
def test_what_is_shown_on_the_sign_in_pages_is_literal(page: str) -> None:
    parser = Attributes()
    parser.feed(page)
    tags = [tag for tag, _ in parser.seen]
    assert tags.count("script") <= 1
    assert tags.count("img") == 1
    for _, attributes in parser.seen:
        assert not any(name.startswith("on") for name in attributes)
        assert not any((attributes.get(name) or "").startswith("http") for name in ("src", "href", "action"))


def test_the_sign_in_pages_fetch_nothing() -> None:
    assert PAGE_POLICY.startswith("default-src 'none'")
    assert "unsafe" not in PAGE_POLICY


def test_a_form_that_is_too_long_is_not_read(visitor: TestClient) -> None:
    answer = visitor.post("/sign-in", data={"email": "a@b", "password": "x" * 100_000}, headers=OWN)
    assert answer.status_code == 401


@pytest.fixture
def behind_proxy(tmp_path: Path, sqlite_template: Path) -> Iterator[tuple[Console, TestClient]]:
    """A console that listens on loopback and is reached through a proxy that ends TLS."""
    from starlette.responses import PlainTextResponse

    shutil.copy(sqlite_template, tmp_path / "rmn.sqlite")
    console = build_console(Settings(home=tmp_path, public_url="https://RMN.example.com/"))
    routes = [
        *sign_in_routes(console),
        Route("/", lambda _: PlainTextResponse("in"), methods=["GET", "POST"]),
    ]
    app = Guard(Starlette(routes=routes), console=console, page_policy="default-src 'self'")
    yield console, TestClient(app, base_url="http://rmn.example.com", follow_redirects=False)
    console.close()


def test_behind_a_proxy_the_public_name_and_its_pages_are_ones_own(
    behind_proxy: tuple[Console, TestClient], new_workspace: Callable[[Console, str], Any]
) -> None:
    console, browser = behind_proxy
    people_here = new_workspace(console, "Alpha Stores")
    link = people.make_sign_in_link(console, people_here.principal(), people_here.users[Role.TRAINER])
    assert link.startswith("https://rmn.example.com/sign-in/link?token=")
    token = {"token": link.partition("token=")[2]}
    foreign = {"origin": "https://evil.example", "host": "rmn.example.com"}
    assert browser.post("/sign-in/link", data=token, headers=foreign).status_code == 403
    # The proxy may put its own name for this machine into the Host header: the Origin is still the public one.
    public = {"origin": "https://rmn.example.com", "host": "127.0.0.1:8501"}
    answer = browser.post("/sign-in/link", data=token, headers=public)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "secure" in answer.headers["set-cookie"].lower()
    cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert browser.post("/", headers={**public, **cookie}).text == "in"
    assert browser.get("/", headers=cookie).text == "in"
    assert browser.post("/", headers={**foreign, **cookie}).status_code == 403
    assert browser.get("/", headers={**cookie, "host": "evil.example"}).status_code == 403


def test_streamlit_is_told_the_public_url_for_its_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit import config

    before = config.get_option("server.corsAllowedOrigins")
    try:
        _find_configuration(Settings(public_url="https://rmn.example.com"))
        _find_configuration(Settings(public_url="https://rmn.example.com"))
        assert config.get_option("server.corsAllowedOrigins") == [*before, "https://rmn.example.com"]
    finally:
        config._set_option("server.corsAllowedOrigins", before, "test")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("https://RMN.Example.com/", "https://rmn.example.com"),
        ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_a_public_url_is_kept_as_an_origin(given: str, kept: str) -> None:
    assert Settings(public_url=given).public_url == kept


@pytest.mark.parametrize(
    "given",
    [
        "rmn.example.com",
        "ftp://rmn.example.com",
        "https://rmn.example.com/console",
        "https://rmn.example.com?x=1",
        "https://user@rmn.example.com",
        "https://rmn.example.com:99999",
        "https://",
    ],
)
def test_what_is_no_origin_is_refused_as_public_url(given: str) -> None:
    with pytest.raises(InvalidInputError, match="settings are not valid"):
        load_settings(public_url=given)
