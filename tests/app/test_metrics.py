"""What Prometheus reads: who may, names as OpenTelemetry spells them, few labels, nothing of a path or a tenant."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from app.bootstrap import Console, build_console
from app.gauges import Gauges
from app.metrics import Metrics
from core.errors import BusyError
from core.serve.records import InferenceAnswer
from core.tenants.records import Role
from tests.app.other_settings import another

TOKEN = "scrape-me-0123456789"


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found: dict[str, Any], name: str, sample: str = "", **labels: str) -> float:
    (one,) = [
        s.value
        for s in found[name].samples
        if s.name == (sample or name) and labels.items() <= s.labels.items()
    ]
    return float(one)


def test_the_figures_of_answers_parse_and_carry_opentelemetrys_names(
    console: Console, workspace: Any, other_workspace: Any
) -> None:
    console.engine()
    asked = {"messages": [{"role": "user", "content": "What is ROAS?"}], "max_new_tokens": 3}
    with another(console, metrics_token=SecretStr(TOKEN)) as (api, _):
        for who in (workspace, workspace, other_workspace):
            assert api.post("/inference", json=asked, headers=who.headers()).status_code == 200
        missing = asked | {"model": "no-such-model"}
        assert api.post("/inference", json=missing, headers=workspace.headers()).status_code == 404
        streamed = {"model": "base", "messages": asked["messages"], "max_tokens": 3, "stream": True}
        assert "[DONE]" in api.post("/v1/chat/completions", json=streamed, headers=workspace.headers()).text
        api.get("/adapters/secret-path-of-alpha", headers=workspace.headers())
        api.get("/nowhere/at-all", headers=workspace.headers())
        answer = api.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = families(answer.text)
    duration = "gen_ai_server_request_duration_seconds"
    assert value(found, duration, f"{duration}_count", error_type="") == 4
    assert value(found, duration, f"{duration}_count", error_type="not_found") == 1
    tokens = "gen_ai_client_token_usage"
    assert value(found, tokens, f"{tokens}_sum", gen_ai_token_type="output") <= 12
    assert value(found, tokens, f"{tokens}_count", gen_ai_token_type="input") == 4
    first = "gen_ai_server_time_to_first_token_seconds"
    assert value(found, first, f"{first}_count") == 4
    http = "http_server_request_duration_seconds"
    told = {"http_request_method": "POST", "http_route": "/inference", "http_response_status_code": "200"}
    assert value(found, http, f"{http}_count", **told) == 3
    routes = {s.labels["http_route"] for s in found[http].samples}
    assert routes == {"/inference", "/v1/chat/completions", "/adapters/{adapter_id}", "unmatched"}
    assert value(found, "process_resident_memory_bytes") > 1e7
    assert value(found, "rmn_answers_under_way") == 0
    for secret in ("secret-path", "nowhere", workspace.tenant.slug, workspace.tenant.id, "no-such", "req_"):
        assert secret not in answer.text


def test_times_of_an_answer_are_in_seconds_and_a_failure_has_its_kind() -> None:
    metrics = Metrics()
    answer = InferenceAnswer(
        "req", "text", "stop", "m", (), "k", "b", 20, 4, latency_ms=100, queued_ms=5, mean_logprob=-0.1
    )
    metrics.note_answer("alpha", replace(answer, first_token_ms=40.0))
    metrics.note_answer("alpha", replace(answer, completion_tokens=1, finish_reason="cancelled"))
    metrics.note_failure("alpha", BusyError("Too much."), 0.5)
    metrics.note_failure("alpha", ValueError("secret"), 0.5)
    metrics.note_http("BREW", None, None, 0.0)
    found = families(metrics.text().decode())
    between = "gen_ai_server_time_per_output_token_seconds"
    assert value(found, between, f"{between}_count") == 1
    assert value(found, between, f"{between}_sum") == pytest.approx(0.02)
    whole = "gen_ai_server_request_duration_seconds"
    assert value(found, whole, f"{whole}_sum", error_type="") == pytest.approx(0.1)
    assert {s.labels["error_type"] for s in found[whole].samples} == {"", "cancelled", "busy", "error"}
    (http,) = {s.labels["http_request_method"] for s in found["http_server_request_duration_seconds"].samples}
    assert http == "_OTHER"


def test_tenants_are_named_only_where_the_settings_say_so(console: Console, workspace: Any) -> None:
    console.engine()
    asked = {"messages": [{"role": "user", "content": "hello"}], "max_new_tokens": 1}
    with another(console, metrics_token=SecretStr(TOKEN), metrics_by_tenant=True) as (api, _):
        api.post("/inference", json=asked, headers=workspace.headers())
        found = families(api.get("/metrics", headers={"x-api-key": TOKEN}).text)
    named = {s.labels["rmn_tenant"] for s in found["gen_ai_client_token_usage"].samples}
    assert named == {workspace.tenant.slug}


def test_only_the_token_and_administrators_of_the_operators_workspace_read_them(
    console: Console, workspace: Any, other_workspace: Any
) -> None:
    with another(console, operator_workspace=workspace.tenant.slug) as (api, _):

        def status(**headers: str) -> int:
            return int(api.get("/metrics", headers=headers).status_code)

        assert status() == 401
        assert status(authorization="Bearer ") == 401  # no token is set, and an empty one is none
        assert status(**workspace.headers(Role.ADMIN)) == 200
        assert status(**workspace.headers(Role.TRAINER)) == 403
        assert status(**other_workspace.headers(Role.ADMIN)) == 403
    with another(console, metrics_token=SecretStr(TOKEN)) as (api, _):
        assert status(authorization=f"Bearer {TOKEN}x") == 401
        assert status(**workspace.headers(Role.ADMIN)) == 403
        # The token opens nothing else.
        assert api.get("/adapters", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_engine_and_composition_cache_tell_what_they_hold(console: Console) -> None:
    console.engine()
    metrics = Metrics()
    metrics.add(Gauges(console.engine, console.runtime.cache, lambda: 3))
    found, status = families(metrics.text().decode()), console.engine().status()
    assert value(found, "rmn_engine_ready") == 1
    assert value(found, "rmn_engine_base_bytes") == status.base_bytes > 1e6
    assert value(found, "rmn_engine_answers", "rmn_engine_answers_total") == status.answered
    assert value(found, "rmn_engine_prefix_misses", "rmn_engine_prefix_misses_total") == status.prefix.misses
    assert value(found, "rmn_answers_under_way") == 3
    stats = console.runtime.cache.get_cache_stats()
    assert value(found, "rmn_composition_cache_entries") == stats.entries_held


def test_each_console_counts_for_itself_and_an_engine_that_is_not_open_is_left_alone(
    console: Console,
) -> None:
    made = build_console(console.settings.model_copy(update={"metrics_token": SecretStr(TOKEN)}))
    try:
        found = families(made.metrics.text().decode())
        assert value(found, "rmn_engine_ready") == 0
        assert "rmn_engine_base_bytes" not in found
        assert not made.engine.loaded
        assert not found["http_server_request_duration_seconds"].samples
    finally:
        made.close()
