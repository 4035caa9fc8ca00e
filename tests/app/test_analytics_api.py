"""Analytics over the API: real answers are recorded, the seeds' calls work, what cannot be is refused."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.bootstrap import Console
from core.tenants.records import Role

SAY = {"messages": [{"role": "user", "content": "hello"}], "max_new_tokens": 4}
EXAMPLE = {
    "adapter_id": "amazon_schema_v1",
    "adapter_type": "retailer",
    "latency_ms": 145.3,
    "success": True,
    "task_type": "mapping",
}


class Caller:
    """Somebody with a key."""

    def __init__(self, api: TestClient, headers: dict[str, str]) -> None:
        self.api, self.headers = api, headers

    def get(self, path: str, status: int = 200, **params: Any) -> Any:
        answer = self.api.get(f"/analytics/{path}", params=params, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any, status: int) -> Any:
        answer = self.api.post(f"/analytics/{path}", json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def caller(api: TestClient, workspace: Any) -> Caller:
    return Caller(api, workspace.headers(Role.REVIEWER))


def test_every_answer_is_recorded_and_can_be_judged_by_its_request_id(
    console: Console, api: TestClient, workspace: Any, caller: Caller, adapter_zip: bytes
) -> None:
    console.engine()
    headers = workspace.headers()
    made = api.post(
        "/adapters", headers=headers, files={"file": adapter_zip}, data={"name": "alpha", "type": "retailer"}
    )
    assert made.status_code == 201, made.text
    adapter = made.json()["id"]
    answer = api.post("/inference", json=SAY | {"model": "alpha", "task": "greeting"}, headers=headers)
    assert answer.status_code == 200, answer.text
    request_id = answer.json()["request_id"]
    streamed = {"model": "alpha", "max_tokens": 4, "stream": True, "messages": SAY["messages"]}
    assert api.post("/v1/chat/completions", json=streamed, headers=headers).status_code == 200
    assert api.post("/inference", json=SAY | {"model": "nobody"}, headers=headers).status_code == 404
    judged = caller.post("feedback", {"request_id": request_id, "thumbs": "up", "rating": 4}, 201)
    assert judged["adapters"] == [adapter]
    assert judged["task"] == "greeting"
    found = caller.get("adapters/alpha", hours=1)
    assert (found["adapter_id"], found["label"], found["registered"]) == (adapter, "alpha v1", True)
    assert (found["total_requests"], found["success_rate"], found["failures"]) == (2, 1.0, 0)
    assert (found["avg_user_rating"], found["thumbs_up"]) == (4.0, 1)
    assert found["p95_latency_ms"] is None
    assert "only the slowest" in found["figures"]["latency_p95"]["note"]
    assert found["figures"]["composing_mean"]["n"] == found["figures"]["queued_mean"]["n"] == 2
    assert found["figures"]["memory"]["value"] > 0
    assert found["source"] == "2 measured here"
    whole = caller.get("totals", hours=1)["now"]
    assert (whole["total_requests"], whole["errors"]) == (3, {"not_found": 1})
    rows = caller.get("requests", hours=1)
    assert [row["success"] for row in rows["rows"]] == [False, True, True]
    assert [row["adapters"] for row in rows["rows"]] == [[], ["alpha v1"], ["alpha v1"]]
    assert "hello" not in json.dumps(rows)
    assert rows["rows"][2]["thumbs"] == "up"
    tokens = [row["prompt_tokens"] for row in rows["rows"]]
    assert tokens[2] == answer.json()["prompt_tokens"]


def test_a_failure_of_a_federation_counts_for_each_of_its_adapters(
    console: Console, api: TestClient, workspace: Any, caller: Caller, adapter_zip: bytes
) -> None:
    from core.serve.records import InferenceRequest

    headers = workspace.headers()
    ids = []
    for name in ("alpha", "beta"):
        sent = {"files": {"file": adapter_zip}, "data": {"name": name, "type": "task"}}
        ids.append(api.post("/adapters", headers=headers, **sent).json()["id"])
    spec = {"terms": [{"adapter": "alpha", "weight": 1.0}, {"adapter": "beta", "weight": 0.5}]}
    body = {"name": "both", "description": "", "spec": spec}
    assert api.post("/composition/federations", json=body, headers=headers).status_code == 201
    for asked in ({"model": "both"}, {"composition": spec}, {"model": "beta"}):
        with (
            pytest.raises(RuntimeError),
            console.admission.enter(workspace.principal(), InferenceRequest.model_validate(SAY | asked)),
        ):
            raise RuntimeError("the engine broke")
    console.recorder.write()
    found = [caller.get(f"adapters/{each}", hours=1) for each in ids]
    assert [each["failures"] for each in found] == [2, 3]
    assert found[1]["errors"] == {"error": 3}


def test_the_seeds_examples_work(console: Console, caller: Caller) -> None:
    for body in (
        EXAMPLE,
        EXAMPLE | {"latency_ms": 342.1},
        EXAMPLE | {"success": False, "error_type": "timeout"},
    ):
        assert caller.post("record", body, 202)["request_id"].startswith("req_")
    caller.post("record", EXAMPLE | {"adapter_id": "walmart_schema_v1"}, 202)
    said = {
        "adapter_id": "amazon_schema_v1",
        "rating": 4.5,
        "thumbs": "up",
        "task_type": "mapping",
        "accuracy": 0.92,
    }
    caller.post("feedback", said, 201)
    found = caller.get("adapters/amazon_schema_v1")
    assert found["adapter_id"] == "amazon_schema_v1"
    assert found["success_rate"] == pytest.approx(2 / 3)
    assert found["avg_latency_ms"] == pytest.approx((145.3 + 342.1) / 2)
    assert (found["avg_user_rating"], found["total_requests"], found["registered"]) == (4.5, 3, False)
    assert (
        found["figures"]["success_rate"]["low"]
        < found["success_rate"]
        < found["figures"]["success_rate"]["high"]
    )
    top = caller.get("top-performers", metric="success_rate", limit=5)
    assert [(each["rank"], each["adapter_id"]) for each in top["items"]] == [
        (1, "amazon_schema_v1"),
        (2, "walmart_schema_v1"),
    ]
    assert top["items"][0]["ranked_by"] == top["items"][0]["figures"]["success_rate"]["low"]
    for ids in (["amazon_schema_v1", "walmart_schema_v1"], ["amazon_schema_v1,walmart_schema_v1"]):
        compared = caller.get("comparison", adapter_ids=ids)
        assert [each["total_requests"] for each in compared["adapters"]] == [3, 1]
        assert {each["outlook"] for each in compared["differences"]} == {"unclear"}
    hours = caller.get("series", hours=3, adapter_id="amazon_schema_v1")["points"]
    assert sum(point["requests"] for point in hours) == 3
    kinds = caller.get("errors", adapter_id="amazon_schema_v1")["items"]
    assert [(each["code"], each["count"], each["share"]["n"]) for each in kinds] == [("timeout", 1, 3)]
    page = caller.get("requests", adapter_id="amazon_schema_v1", failed=True)
    assert (page["total"], page["rows"][0]["error"], page["rows"][0]["source"]) == (1, "timeout", "reported")


@pytest.mark.parametrize(
    "wrong",
    [
        '{"adapter_id": "a", "latency_ms": NaN, "success": true}',
        '{"adapter_id": "a", "latency_ms": Infinity, "success": true}',
        '{"adapter_id": "a", "latency_ms": -1, "success": true}',
        '{"adapter_id": " ", "latency_ms": 1, "success": true}',
        '{"adapter_id": "a", "latency_ms": 1, "success": true, "tokens_in": -1}',
        '{"adapter_id": "a", "latency_ms": 1, "success": true, "colour": "red"}',
    ],
)
def test_a_record_that_cannot_be_is_refused(api: TestClient, workspace: Any, wrong: str) -> None:
    sent = {"content-type": "application/json"} | workspace.headers()
    answer = api.post("/analytics/record", content=wrong, headers=sent)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "invalid_input"


def test_judgements_that_cannot_be_are_refused(caller: Caller) -> None:
    for wrong in ({"rating": 6}, {"rating": 0}, {"thumbs": "sideways"}, {"accuracy": 2}, {}):
        caller.post("feedback", {"adapter_id": "amazon_schema_v1"} | wrong, 422)
    caller.post("feedback", {"thumbs": "up"}, 422)
    told = caller.post("feedback", {"adapter_id": "nobody", "thumbs": "up"}, 404)
    assert "no adapter «nobody»" in told["error"]["what"]
    caller.post("feedback", {"request_id": "req_nobody", "thumbs": "up"}, 404)


def test_questions_that_have_no_answer_say_why(caller: Caller) -> None:
    assert "no adapter" in caller.get("adapters/nobody", 404)["error"]["what"]
    for path, params in (
        ("adapters/x", {"hours": 0}),
        ("top-performers", {"metric": "beauty"}),
        ("top-performers", {"limit": 0}),
        ("comparison", {}),
        ("series", {"hours": 9, "step": "minute"}),
        ("requests", {"limit": 0}),
    ):
        status = 404 if path == "adapters/x" and params["hours"] else 422
        caller.get(path, status, **params)
    assert caller.get("top-performers")["items"] == []
    assert caller.get("totals")["now"]["total_requests"] == 0


def test_a_viewer_reads_and_only_a_reviewer_tells(
    api: TestClient, workspace: Any, other_workspace: Any
) -> None:
    viewer, other = (Caller(api, who.headers(Role.VIEWER)) for who in (workspace, other_workspace))
    viewer.post("record", EXAMPLE, 403)
    viewer.post("feedback", {"adapter_id": "a", "thumbs": "up"}, 403)
    Caller(api, workspace.headers(Role.REVIEWER)).post("record", EXAMPLE, 202)
    assert api.post("/analytics/record", json=EXAMPLE).status_code == 401
    other.get("adapters/amazon_schema_v1", 404)
    other.get("comparison", 404, adapter_ids="amazon_schema_v1")
    other.get("requests", 404, adapter_id="amazon_schema_v1")
    assert other.get("totals")["now"]["total_requests"] == 0
