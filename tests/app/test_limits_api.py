"""Limits and usage over the API: who sees and sets them, and what happens to requests beyond them."""

import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.bootstrap import Console
from core.serve.records import InferenceRequest
from core.tenants import audit
from core.tenants.records import Role
from tests.app.other_settings import another

ASKED = {"messages": [{"role": "user", "content": "hello"}], "max_new_tokens": 4}


def ask(api: TestClient, who: Any, **more: Any) -> Any:
    return api.post("/inference", json=ASKED | more, headers=who.headers(Role.VIEWER))


def test_the_operator_sets_limits_that_count_at_once_and_are_in_both_audit_logs(
    console: Console, workspace: Any, other_workspace: Any
) -> None:
    console.engine()
    theirs = f"/tenants/{other_workspace.tenant.id}/limits"
    with another(console, operator_workspace=workspace.tenant.slug) as (api, sharing):
        assert ask(api, other_workspace).status_code == 200
        sent = {"requests_per_minute": 3, "weight": 4}
        told = api.put(theirs, json=sent, headers=workspace.headers())
        assert told.status_code == 200
        assert told.json()["given"]["requests_per_minute"] == 3
        assert told.json()["given"]["tokens_per_day"] is None
        assert told.json()["counting"]["concurrent_requests"] == 256
        assert api.get(theirs, headers=workspace.headers()).json() == told.json()
        own = api.get("/tenants/me/limits", headers=other_workspace.headers(Role.VIEWER))
        assert own.json() == told.json()
        assert ask(api, other_workspace).status_code == 200
        refused = ask(api, other_workspace)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "3 a minute" in refused.json()["error"]["why"]
        assert sharing.admission.answer_limits(other_workspace.principal()).share == 4
    with console.database.reading() as s:
        for who, actor in (
            (workspace, f"admin ({workspace.keys[Role.ADMIN][:12]}…)"),
            (other_workspace, "operator"),
        ):
            (entry,) = audit.list_entries(s, who.tenant.id, action="limits.changed")
            assert entry.actor == actor
            assert entry.subject == other_workspace.tenant.id
            assert entry.detail["after"]["requests_per_minute"] == 3
            assert audit.verify(s, who.tenant.id).problem is None


def test_nobody_else_sets_limits_or_sees_those_of_others(
    api: TestClient, workspace: Any, other_workspace: Any
) -> None:
    mine, theirs = (f"/tenants/{who.tenant.id}/limits" for who in (workspace, other_workspace))
    assert api.get(mine, headers=workspace.headers()).status_code == 200
    assert api.get(mine, headers=workspace.headers(Role.TRAINER)).status_code == 403
    unknown = api.get("/tenants/ten_nobody/limits", headers=workspace.headers())
    other = api.get(theirs, headers=workspace.headers())
    assert other.status_code == unknown.status_code == 404
    assert other.json()["error"]["what"] == unknown.json()["error"]["what"]
    for path in (mine, theirs, "/tenants/ten_nobody/limits"):
        refused = api.put(path, json={"weight": 9}, headers=workspace.headers())
        assert refused.status_code == 403
    assert api.get(mine, headers=workspace.headers()).json()["given"]["weight"] == 1


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"tokens_per_day": -1}, {"share": 2}, {"priority": 11}])
def test_limits_that_cannot_be_are_refused(console: Console, workspace: Any, wrong: dict[str, int]) -> None:
    with another(console, operator_workspace=workspace.tenant.slug) as (api, _):
        path = f"/tenants/{workspace.tenant.id}/limits"
        assert api.put(path, json=wrong, headers=workspace.headers()).status_code == 422


def test_usage_counts_answers_and_streams_by_day_and_not_what_was_refused(
    console: Console, workspace: Any, other_workspace: Any
) -> None:
    console.engine()
    with another(console) as (api, sharing):
        whole = ask(api, workspace).json()
        streamed = {"model": "base", "max_tokens": 4, "stream": True, "messages": ASKED["messages"]}
        api.post("/v1/chat/completions", json=streamed, headers=workspace.headers())
        assert ask(api, workspace, model="nobody").status_code == 404
        deadline = time.monotonic() + 60
        while not (found := _usage(api, workspace)) or found[0]["requests"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found == [
            {
                "day": sharing.clock().date().isoformat(),
                "requests": 2,
                "prompt_tokens": 2 * whole["prompt_tokens"],
                "completion_tokens": 2 * whole["completion_tokens"],
            }
        ]
        assert _usage(api, other_workspace) == []
        assert sharing.admission.inside == 0


def test_tokens_of_the_day_and_answers_at_once_are_refused_with_their_reason(
    console: Console, workspace: Any
) -> None:
    console.engine()
    with another(console, operator_workspace=workspace.tenant.slug) as (api, sharing):
        path = f"/tenants/{workspace.tenant.id}/limits"
        api.put(path, json={"tokens_per_day": 5}, headers=workspace.headers())
        refused = ask(api, workspace)
        assert refused.status_code == 429
        assert "5 a day" in refused.json()["error"]["why"]
        api.put(path, json={"concurrent_requests": 1}, headers=workspace.headers())
        with sharing.admission.enter(workspace.principal(), InferenceRequest.model_validate(ASKED)):
            refused = ask(api, workspace)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert "1 answers at once" in refused.json()["error"]["why"]
        assert ask(api, workspace).status_code == 200


def test_while_the_process_drains_answers_are_refused_with_503_and_reading_goes_on(
    console: Console, workspace: Any
) -> None:
    with another(console) as (api, sharing):
        sharing.stopping.set()
        sharing.admission.close()
        refused = ask(api, workspace)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert api.get("/adapters", headers=workspace.headers()).status_code == 200
        assert api.get("/ready").status_code == 503
        assert api.get("/health").status_code == 200


def _usage(api: TestClient, who: Any) -> list[dict[str, Any]]:
    return list(api.get("/tenants/me/usage", headers=who.headers()).json()["items"])
