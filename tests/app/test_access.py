"""Every screen and route has a policy, and what has none is denied."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from app.access import POLICIES, match_route, may_open
from app.api.application import build_api
from app.bootstrap import Console
from app.sign_in import sign_in_routes
from core.settings import PROJECT_ROOT
from core.tenants.records import Permission, Principal, Role


def walk(routes: list[Any]) -> Iterator[tuple[str, str]]:
    """Method and path of each route, also of routers that were included and apps that were mounted."""
    for route in routes:
        methods, path = getattr(route, "methods", None), getattr(route, "path", None)
        if methods and path is not None:
            yield from ((method, path) for method in methods - {"HEAD"})
            continue
        inner = getattr(route, "original_router", None) or getattr(route, "router", None) or route
        assert getattr(inner, "routes", None), f"a route that cannot be looked into: {route!r}"
        yield from walk(inner.routes)


def filled(template: str) -> str:
    """A path that fits the template."""
    return re.sub(r"\{\w+\}", "1", template)


def principal(role: Role) -> Principal:
    return Principal("ten_1", "Alpha", "a@b", role)


def test_every_screen_has_a_policy() -> None:
    screens = {f"pages/{file.name}" for file in (PROJECT_ROOT / "pages").glob("*.py")}
    assert screens
    assert screens == {key for key in POLICIES if isinstance(key, str)}


def test_every_route_of_the_api_has_a_policy_and_every_policy_a_route(console: Console) -> None:
    api = build_api(console)
    found = set(walk(api.routes))
    documented = {
        (method.upper(), path) for path, methods in api.openapi()["paths"].items() for method in methods
    }
    assert documented <= found
    own: list[BaseRoute] = sign_in_routes(console)
    assert found | set(walk(own)) == {key for key in POLICIES if isinstance(key, tuple)}


def test_a_path_fits_the_template_of_its_own_route_only() -> None:
    for key in POLICIES:
        if isinstance(key, tuple):
            _, template = key
            assert match_route(filled(template))[0] == template


@pytest.mark.parametrize("path", ["/adapters/", "/adapters/a/b", "/admin", "", "/health/x", "//health"])
def test_an_unknown_path_has_no_template(path: str) -> None:
    assert match_route(path) == (None, {})


def test_without_a_key_only_health_answers(api: TestClient, console: Console) -> None:
    open_routes = set()
    for method, path in walk(build_api(console).routes):
        answer = api.request(method, filled(path))
        if answer.status_code not in (401, 403):
            open_routes.add((method, path))
    assert open_routes == {("GET", "/health"), ("GET", "/ready"), ("GET", "/openapi.json")}


def test_a_path_that_nobody_knows_is_denied_to_strangers_and_not_found_for_others(
    api: TestClient, workspace: Any
) -> None:
    assert api.get("/secret").status_code == 401
    assert api.get("/secret", headers=workspace.headers()).status_code == 404


@pytest.mark.parametrize(
    ("screen", "least"),
    [("pages/admin.py", Role.ADMIN), ("pages/training.py", Role.TRAINER), ("pages/jobs.py", Role.VIEWER)],
)
def test_a_screen_opens_for_its_role_and_those_above(screen: str, least: Role) -> None:
    roles = list(Role)
    allowed = [role for role in roles if may_open(principal(role), screen)]
    assert allowed == roles[roles.index(least) :]


def test_an_unknown_screen_opens_for_nobody() -> None:
    assert not may_open(principal(Role.ADMIN), "pages/unknown.py")
    assert not may_open(principal(Role.ADMIN), str(Path("pages/../app/main.py")))


def test_no_route_that_changes_something_is_open_to_viewers() -> None:
    changing = {
        key: permission
        for key, permission in POLICIES.items()
        if isinstance(key, tuple) and key[0] != "GET" and permission is not Permission.PUBLIC
    }
    asks = {("POST", "/inference"), ("POST", "/v1/chat/completions"), ("POST", "/sign-out")}
    asks |= {("POST", "/ab-testing/assign"), ("POST", "/ab-testing/advice")}  # who gets what; a reckoning
    assert {key for key, permission in changing.items() if principal(Role.VIEWER).may(permission)} == asks
