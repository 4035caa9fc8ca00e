"""Federations of every method, swaps, preparations and preferences by REST."""

import io
import json
import time
import zipfile
from typing import Any

import pytest
from safetensors.numpy import load, save
from starlette.testclient import TestClient

from core.tenants.records import Role

ASK = {"messages": [{"role": "user", "content": "Plan a campaign for sparkling water."}], "max_new_tokens": 3}
BOTH = [{"adapter": "alpha"}, {"adapter": "beta", "weight": 0.5}]
PIPELINE: dict[str, Any] = {
    "method": "sequential",
    "stages": [
        {"name": "one", "composition": {"terms": [{"adapter": "alpha"}]}, "max_new_tokens": 3},
        {"name": "two", "composition": {"terms": [{"adapter": "beta"}]}, "prompt": "{one} {input}"},
    ],
}


def changed(package: bytes, factor: float) -> bytes:
    """The same adapter with other weights."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(packed, "w") as new:
        tensors = {
            name: value * factor for name, value in load(old.read("adapter_model.safetensors")).items()
        }
        new.writestr("adapter_model.safetensors", save(tensors))
        new.writestr("adapter_config.json", old.read("adapter_config.json"))
    return packed.getvalue()


def bring(api: TestClient, workspace: Any, package: bytes, name: str) -> Any:
    files, form = {"file": ("a.zip", package)}, {"name": name, "type": "task"}
    answer = api.post("/adapters", headers=workspace.headers(), files=files, data=form)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def two(api: TestClient, workspace: Any, adapter_zip: bytes) -> None:
    bring(api, workspace, adapter_zip, "alpha")
    bring(api, workspace, changed(adapter_zip, 3.0), "beta")


class Caller:
    """One workspace's calls, with the status that is expected."""

    def __init__(self, api: TestClient, headers: dict[str, str]) -> None:
        self.api, self.headers = api, headers

    def get(self, path: str, status: int = 200) -> Any:
        return self._call("GET", path, None, status)

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        return self._call("POST", path, body, status)

    def delete(self, path: str, status: int = 200) -> Any:
        return self._call("DELETE", path, None, status)

    def save(self, name: str, spec: Any, status: int = 201) -> Any:
        return self.post("/composition/federations", {"name": name, "spec": spec}, status)

    def _call(self, method: str, path: str, body: Any, status: int) -> Any:
        answer = self.api.request(method, path, json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def mine(api: TestClient, workspace: Any, two: None) -> Caller:
    return Caller(api, workspace.headers(Role.TRAINER))


@pytest.fixture
def theirs(api: TestClient, other_workspace: Any) -> Caller:
    return Caller(api, other_workspace.headers(Role.TRAINER))


def test_federations_of_every_method_are_saved_and_answer(mine: Caller) -> None:
    token = {"method": "gated", "gate": {"kind": "token", "top_k": 1}, "terms": BOTH}
    segments = {"terms": [{"adapter": "alpha", "layers": [0, 1]}, {"adapter": "beta", "layers": [2, 2]}]}
    for name, spec in (("Sum", {"terms": BOTH}), ("Token", token), ("Depth", segments), ("Pipe", PIPELINE)):
        mine.save(name, spec)
        answer = mine.post("/inference", {**ASK, "model": name, "logprobs": True})
        assert answer["model"] == f"{name} v1"
        assert {a["name"] for a in answer["adapters"]} == {"alpha", "beta"}
        assert answer["mean_entropy"] > 0
        assert 0 <= answer["min_margin"] <= 1
        assert answer["first_token_ms"] > 0
        assert answer["logprobs"]
    assert [a["layers"] for a in mine.post("/inference", {**ASK, "model": "Depth"})["adapters"]] == [
        [0, 1],
        [2, 2],
    ]
    assert [s["name"] for s in answer["stages"]] == ["one", "two"]
    assert "".join(t["token"] for t in answer["logprobs"]).startswith(answer["text"].strip())


def test_what_cannot_be_served_is_refused_when_it_is_saved(mine: Caller) -> None:
    beyond = {"terms": [{"adapter": "alpha", "layers": [0, 99]}]}
    unknown_gate = {"method": "gated", "gate": {"kind": "router", "gate": "none"}, "terms": BOTH}
    later = {**PIPELINE, "stages": PIPELINE["stages"][::-1]}
    assert "blocks" in mine.save("x", beyond, 422)["error"]["why"]
    assert "{one}" in mine.save("x", later, 422)["error"]["what"]
    mine.save("x", unknown_gate, 404)


def test_a_stage_that_breaks_its_contract_is_told_as_such(mine: Caller) -> None:
    stages: Any = [{**PIPELINE["stages"][0], "contract": {"kind": "json"}}, PIPELINE["stages"][1]]
    spec = {"method": "sequential", "stages": stages}
    error = mine.post("/inference", {**ASK, "composition": spec}, 422)["error"]
    assert error["code"] == "stage_failed"
    assert "«one»" in error["what"]
    assert "It answered:" in error["why"]


def test_versions_differences_and_a_rollback(mine: Caller) -> None:
    for spec in ({"terms": BOTH}, {"terms": BOTH[:1]}, PIPELINE):
        mine.save("Mine", spec)
    place = "/composition/federations/Mine"
    assert [v["version"] for v in mine.get(f"{place}/versions")["items"]] == [3, 2, 1]
    assert mine.get(f"{place}/diff?older=1&newer=2")["removed"] == {"beta": 0.5}
    assert mine.get(f"{place}/diff?older=2&newer=3")["method"] == ["additive", "sequential"]
    mine.get(f"{place}/diff?older=2&newer=9", 404)
    assert mine.get(place)["version"] == 3
    assert mine.post(f"{place}/rollback", {})["version"] == 2
    assert mine.get(place)["version"] == 2
    assert mine.post("/inference", {**ASK, "model": "Mine"})["model"] == "Mine v2"
    assert mine.post("/inference", {**ASK, "model": "Mine@3"})["model"] == "Mine v3"
    assert mine.post(f"{place}/rollback", {})["version"] == 3  # what it meant before
    assert mine.post(f"{place}/rollback", {"version": 1})["version"] == 1
    mine.post(f"{place}/rollback", {"version": 9}, 404)


def test_a_swap_changes_what_a_name_answers(
    api: TestClient, workspace: Any, mine: Caller, adapter_zip: bytes
) -> None:
    newer = bring(api, workspace, changed(adapter_zip, 5.0), "alpha")
    back = mine.post("/composition/swap", {"name": "alpha", "to_version": 1})
    assert (back["from_version"], back["to_version"], back["state"]) == (2, 1, "serving")
    assert mine.post("/inference", {**ASK, "model": "alpha"})["model"] == "alpha v1"
    seed = {"old_adapter_id": "alpha@1", "new_adapter_id": newer["id"], "warm_swap": True}
    assert mine.post("/composition/swap", seed)["to_version"] == 2
    assert mine.post("/inference", {**ASK, "model": "alpha"})["model"] == "alpha v2"
    assert "does not serve now" in mine.post("/composition/swap", seed, 409)["error"]["what"]
    other = {"old_adapter_id": "alpha", "new_adapter_id": "beta"}
    assert "two names" in mine.post("/composition/swap", other, 422)["error"]["what"]
    mine.post("/composition/swap", {"name": "alpha"}, 422)
    mine.post("/composition/swap", {"name": "alpha", "to_version": 7}, 404)
    listed = mine.get("/composition/swaps?name=alpha")["items"]
    assert [(s["from_version"], s["to_version"]) for s in listed] == [(1, 2), (2, 1)]


def test_a_composition_is_ready_before_it_is_asked(mine: Caller) -> None:
    made = mine.post("/composition/compose", {"adapter_ids": ["alpha", "beta"], "wait": True}, 202)
    assert (made["state"], made["error"], len(made["keys"])) == ("done", "", 1)
    mine.save("Pipe", PIPELINE)
    asked = mine.post("/composition/prefetch", {"model": "Pipe"}, 202)
    deadline = time.monotonic() + 60
    while mine.get(f"/composition/compose/{asked['id']}")["state"] != "done" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(mine.get(f"/composition/compose/{asked['id']}")["keys"]) == 2
    assert mine.delete(f"/composition/compose/{asked['id']}")["state"] == "done"
    strategy = {"adapter_ids": ["alpha", "beta"], "composition_strategy": "sequential"}
    told = mine.post("/composition/prefetch", strategy, 202)
    assert "order does not matter" in told["note"]
    assert told["id"] != made["id"]
    mine.post("/composition/prefetch", {"model": "nothing"}, 404)
    mine.post("/composition/compose", {"model": "a", "adapter_ids": ["b"]}, 422)
    mine.post("/composition/compose", {"adapter_ids": [""]}, 422)


def test_the_figures_of_the_cache_show_a_workspace_its_own_adapters(mine: Caller, theirs: Caller) -> None:
    answer = mine.post("/inference", {**ASK, "model": "beta"})
    told = mine.get("/composition/stats")
    digest = answer["adapters"][0]["digest"]
    assert digest in {resident["digest"] for resident in told["residents"]}
    assert answer["composition_key"] in {entry["key"] for entry in told["entries"]}
    assert told["cached_compositions"] >= 1
    assert 0 <= told["cache_hit_rate"] <= told["best_hit_rate"] + 1
    assert told["base_bytes"] > 0
    seen = theirs.get("/composition/stats")
    assert (seen["residents"], [e for e in seen["entries"] if e["adapters"]]) == ([], [])


def test_nothing_of_a_workspace_is_there_for_another(mine: Caller, theirs: Caller) -> None:
    saved = mine.save("Mine", {"terms": BOTH})
    mine.save("Mine", {"terms": BOTH[:1]})
    made = mine.post("/composition/compose", {"model": "Mine", "wait": True}, 202)
    for name in ("Mine", saved["id"], "Mine@1"):
        theirs.get(f"/composition/federations/{name}", 404)
    theirs.get("/composition/federations/Mine/versions", 404)
    theirs.get("/composition/federations/Mine/diff?older=1&newer=2", 404)
    theirs.post("/composition/federations/Mine/rollback", {}, 404)
    theirs.post("/composition/swap", {"kind": "federation", "name": "Mine", "to_version": 1}, 404)
    theirs.post("/composition/prefetch", {"model": "Mine"}, 404)
    theirs.get(f"/composition/compose/{made['id']}", 404)
    theirs.delete(f"/composition/compose/{made['id']}", 404)
    mine.post("/composition/federations/Mine/rollback", {})
    assert theirs.get("/composition/swaps")["items"] == []
    assert len(mine.get("/composition/swaps")["items"]) == 1


def test_preferences_are_given_counted_and_exported(
    api: TestClient, workspace: Any, other_workspace: Any
) -> None:
    pair = {"messages": [{"role": "user", "content": "Q"}], "chosen": "yes", "rejected": "no"}
    reviewer = Caller(api, workspace.headers(Role.REVIEWER))
    first = reviewer.post("/feedback/preference-pair", {**pair, "chosen_model": "both v1"}, 201)
    assert reviewer.post("/feedback/preference-pair", pair, 201)["id"] == first["id"]
    turned = {**pair, "chosen": "no", "rejected": "yes"}
    reviewer.post("/feedback/preference-pair", turned, 409)
    reviewer.post("/feedback/preference-pair", {**pair, "rejected": "yes"}, 422)
    Caller(api, workspace.headers(Role.VIEWER)).post("/feedback/preference-pair", pair, 403)
    stats = reviewer.get("/feedback/stats")
    assert (stats["judgements"], stats["exportable"], stats["by_source"]) == (1, 1, {"api": 1})
    exported = api.get("/feedback/export-dpo", headers=workspace.headers(Role.VIEWER))
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in exported.text.splitlines()] == [
        {
            "prompt": [{"role": "user", "content": "Q"}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
    ]
    assert api.get("/feedback/export-dpo", headers=other_workspace.headers()).text == ""
    assert Caller(api, other_workspace.headers()).get("/feedback/stats")["judgements"] == 0
