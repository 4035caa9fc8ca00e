"""Requests made from the OpenAPI document: no answer is a failure of ours, and each is as documented."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.access import POLICIES
from app.api.application import build_api
from app.bootstrap import Console
from core.tenants.records import Role

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
CREDENTIALS = ("authorization", "x-api-key")


ROUTES = sorted(
    key
    for key in POLICIES
    if isinstance(key, tuple) and not key[1].startswith("/sign") and key[1] != "/openapi.json"
)


@pytest.fixture(scope="module")
def documented(console: Console) -> Any:
    console.engine()
    return schemathesis.openapi.from_asgi("/openapi.json", build_api(console))


def few(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_answers_are_as_documented(
    documented: Any, module_workspace: Any, method: str, path: str, mode: GenerationMode
) -> None:
    operation = documented[path][method]
    tried = 0

    @few(6)
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_it(case: Any) -> None:
        nonlocal tried
        answer = case.call(headers=module_workspace.headers(Role.TRAINER))
        case.validate_response(answer, checks=CHECKS)
        tried += 1

    try:
        try_it()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing valid can be sent"
    else:
        assert tried


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_key_nothing_is_told(documented: Any, method: str, path: str) -> None:
    allowed = (200, 503) if path in ("/health", "/ready") else (401,)

    @few(2)
    @given(case=documented[path][method].as_strategy())
    def try_it(case: Any) -> None:
        headers = {name: value for name, value in case.headers.items() if name.lower() not in CREDENTIALS}
        case.headers = headers
        assert case.call().status_code in allowed

    try_it()


def test_every_field_and_route_is_described(console: Console) -> None:
    document = build_api(console).openapi()
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            assert told["summary"], (method, path)
            assert told["description"], (method, path)
            if path not in ("/health", "/ready"):
                assert {"401", "403", "422", "429"} <= told["responses"].keys(), (method, path)
                assert told["security"], (method, path)
                for busy in ("429", "503"):
                    assert "Retry-After" in told["responses"][busy]["headers"], (method, path)


def test_requests_with_a_body_have_examples(console: Console) -> None:
    document = build_api(console).openapi()
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            continue
        told = content["application/json"]
        name = told.get("schema", {}).get("$ref", "").rpartition("/")[2]
        assert told.get("examples") or document["components"]["schemas"][name].get("examples"), path
