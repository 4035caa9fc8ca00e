"""Experiments over the API: as the first documents of the product call them, and on the path of real requests."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.bootstrap import Console
from app.experiment_keeper import keep_once
from core.experiments import service
from core.storage.database import Database
from core.tenants import audit
from core.tenants.records import Role
from tests.app.test_composition_api import Caller, bring, changed

ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Map this record."}],
    "max_new_tokens": 2,
}
SEED = {
    "experiment_id": "amazon_v1_vs_v2",
    "name": "Test new Amazon adapter",
    "variants": [
        {"variant_id": "v1", "adapter_ids": ["amazon_v1"], "traffic_percentage": 0.5},
        {"variant_id": "v2", "adapter_ids": ["amazon_v2"], "traffic_percentage": 0.5},
    ],
}


@pytest.fixture
def mine(api: TestClient, workspace: Any, adapter_zip: bytes) -> Caller:
    """A workspace with two adapters, and «amazon» in two versions."""
    bring(api, workspace, adapter_zip, "amazon_v1")
    bring(api, workspace, changed(adapter_zip, 3.0), "amazon_v2")
    bring(api, workspace, changed(adapter_zip, 2.0), "amazon")
    bring(api, workspace, changed(adapter_zip, 4.0), "amazon")
    return Caller(api, workspace.headers(Role.TRAINER))


@pytest.fixture
def running(mine: Caller) -> Caller:
    mine.post("/ab-testing/experiments", SEED, 201)
    mine.post("/ab-testing/experiments/amazon_v1_vs_v2/start", None)
    return mine


def results(caller: Caller, experiment: str = "amazon_v1_vs_v2") -> Any:
    return caller.get(f"/ab-testing/experiments/{experiment}/results")


def two_versions(**more: Any) -> dict[str, Any]:
    """«amazon» as it serves against its first version."""
    return {
        "experiment_id": "live",
        "name": "The second version",
        "min_sample_size": 10,
        "serves": {"kind": "adapter", "name": "amazon"},
        "variants": [
            {"variant_id": "new", "model": "amazon@2"},
            {"variant_id": "old", "model": "amazon@1"},
        ],
        **more,
    }


def test_the_calls_of_the_first_documents_work_as_their_examples_show(mine: Caller) -> None:
    made = mine.post("/ab-testing/experiments", SEED, 201)
    assert made["state"] == "draft"
    assert [each["experiment_id"] for each in mine.get("/ab-testing/experiments")["items"]] == [
        "amazon_v1_vs_v2"
    ]
    started = mine.post("/ab-testing/experiments/amazon_v1_vs_v2/start", None)
    assert started["state"] == "running"
    assert all(len(variant["digest"]) == 64 for variant in started["variants"])
    asked = {
        "experiment_id": "amazon_v1_vs_v2",
        "user_id": "user_123",
        "context": {"task": "mapping", "retailer": "amazon"},
    }
    variant = mine.post("/ab-testing/assign", asked)["variant"]
    assert variant in ("v1", "v2")
    assert mine.post("/ab-testing/assign", asked)["variant"] == variant
    impression = {
        "experiment_id": "amazon_v1_vs_v2",
        "variant_id": variant,
        "success": True,
        "latency_ms": 145.0,
        "feedback_score": 4.5,
    }
    assert not mine.post("/ab-testing/impressions", impression, 201)["replayed"]
    told = results(mine)
    assert told["winner"] is None
    figures = told["variants"][variant]
    assert (figures["impressions"], figures["exposed_units"]) == (1, 2)
    assert figures["success_rate"]["value"] == 1.0
    assert figures["feedback_score"]["value"] == 4.5
    assert figures["latency_ms"] == {"mean": 145.0, "p50": None, "p95": None, "p99": None}
    stopped = mine.post("/ab-testing/experiments/amazon_v1_vs_v2/stop", {"reason": "enough"})
    assert (stopped["state"], stopped["reason"]) == ("stopped", "enough")


def test_results_have_a_winner_and_a_chi_square_that_says_that_it_is_for_one_look(running: Caller) -> None:
    for number in range(240):
        variant = f"v{1 + number % 2}"
        running.post(
            "/ab-testing/impressions",
            {
                "experiment_id": "amazon_v1_vs_v2",
                "variant_id": variant,
                "success": number % 20 < (10 if variant == "v1" else 18),
                "latency_ms": 100 + number % 7,
                "user_id": f"user_{number}",
            },
            201,
        )
    told = results(running)
    assert (told["verdict"], told["winner"]) == ("ship", "v2")
    test = told["statistical_tests"]["chi_square"]
    assert test["label"] == "one look only"
    assert test["degrees_of_freedom"] == 1
    assert 0 < test["p_value"] < 0.01
    (comparison,) = told["comparisons"]
    assert comparison["variant"] == "v2"
    assert comparison["always_valid"]
    assert 0 < comparison["interval"]["low"] < 0.4 < comparison["interval"]["high"]
    assert told["history"][0]["variant"] == "v2"


def test_a_request_that_names_the_experiment_is_answered_by_its_variant_and_counted_within_a_second(
    running: Caller, console: Console
) -> None:
    variants = {}
    for user in ("ann", "bob", "cid", "dan", "eve"):
        asked = {**ASK, "model": "amazon_v1_vs_v2", "user_id": user, "task": "mapping"}
        answers = [running.post("/inference", asked) for _ in range(2)]
        (variants[user],) = {answer["variant"] for answer in answers}
        assert {answer["experiment"] for answer in answers} == {"amazon_v1_vs_v2"}
        assert answers[0]["adapters"][0]["name"] == f"amazon_{variants[user]}"
        assert answers[0]["model"].startswith(f"amazon_{variants[user]}")
        assigned = running.post("/ab-testing/assign", {"experiment_id": "amazon_v1_vs_v2", "user_id": user})
        assert assigned["variant"] == variants[user]
    time.sleep(1.5)
    assert not console.impressions._waiting  # written by itself
    told = results(running)
    assert sum(each["impressions"] for each in told["variants"].values()) == 10
    assert sum(each["units"] for each in told["variants"].values()) == 5
    assert told["segments"][0]["value"] == "mapping"
    # The same request id again, from the outside: it is known.
    answer = running.post("/inference", {**ASK, "model": "amazon_v1_vs_v2", "user_id": "ann"})
    console.impressions.write()
    again = {"experiment_id": "amazon_v1_vs_v2", "variant_id": variants["ann"], "success": False}
    again |= {"user_id": "ann", "event_id": answer["request_id"]}
    assert running.post("/ab-testing/impressions", again, 201)["replayed"]


def test_a_rating_sent_with_the_request_id_joins_what_the_answer_told_of_itself(running: Caller) -> None:
    """At once, before the answer's own part is written, and again when all of it was counted."""
    for number in range(6):
        asked = {**ASK, "model": "amazon_v1_vs_v2", "user_id": f"u{number}"}
        answer = running.post("/inference", asked)
        if number % 2:
            results(running)
        rating = {"experiment_id": "amazon_v1_vs_v2", "variant_id": answer["variant"]}
        rating |= {"event_id": answer["request_id"], "feedback_score": 5.0}
        assert not running.post("/ab-testing/impressions", rating, 201)["replayed"]
    told = results(running)
    assert told["unfolded"] == 0
    shown = [each for each in told["variants"].values() if each["units"]]
    assert sum(each["units"] for each in shown) == sum(each["impressions"] for each in shown) == 6
    for each in shown:
        assert each["success_rate"]["value"] == 1.0
        assert each["feedback_score"]["value"] == 5.0
        assert each["latency_ms"]["mean"] > 0


def test_a_list_of_experiments_is_as_long_as_it_is_asked_for(mine: Caller) -> None:
    for number in range(3):
        mine.post("/ab-testing/experiments", {**SEED, "experiment_id": f"e{number}"}, 201)
    found = mine.get("/ab-testing/experiments?limit=2")["items"]
    assert [each["experiment_id"] for each in found] == ["e2", "e1"]
    for limit in ("0", "1001", "x"):
        mine.get(f"/ab-testing/experiments?limit={limit}", 422)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"name": " \u00a0"}, 200),
        ({"targeting": {"a": ["\ud800"]}}, 422),
        ({"targeting": {"\ud800": ["a"]}}, 422),
        ({"targeting": {"a\0": ["a"]}}, 422),
        ({"targeting": {f"f{number}": ["a"] for number in range(17)}}, 422),
        ({"ends_at": "9999-12-31T23:59:59-12:00"}, 200),
        ({"starts_at": "0001-01-01T00:00:00+14:00"}, 200),
        ({"ramp": [{"at": "0001-01-01T00:00:00+14:00", "share": 1}]}, 200),
        ({"primary": {"name": "latency_ms"}}, 422),
        ({"variants": [SEED["variants"][0], {"variant_id": "x", "adapter_ids": ["\ud800"]}]}, 422),
    ],
)
def test_what_cannot_be_kept_is_refused_with_words_and_nothing_is_kept(
    mine: Caller, api: TestClient, change: dict[str, Any], advice: int
) -> None:
    headers = {**mine.headers, "content-type": "application/json"}
    if "variants" in change:
        change = {"variants": [{**each, "traffic_percentage": 0.5} for each in change["variants"]]}
    for path, body, status in (
        ("experiments", {**SEED, **change}, 422),
        ("advice", {"experiment": {**SEED, **change}, "baseline": 0.5, "difference": 0.1}, advice),
    ):
        answer = api.post(f"/ab-testing/{path}", content=json.dumps(body), headers=headers)
        assert answer.status_code == status, answer.text
        assert status == 200 or answer.json()["error"]["what"]
    assert mine.get("/ab-testing/experiments")["items"] == []
    mine.post("/ab-testing/experiments", SEED, 201)
    wanted = json.dumps({**SEED, **change})
    answer = api.put("/ab-testing/experiments/amazon_v1_vs_v2", content=wanted, headers=headers)
    assert answer.status_code == 422, answer.text


def test_texts_that_are_no_texts_are_refused_wherever_they_come(running: Caller, api: TestClient) -> None:
    of = {"experiment_id": "amazon_v1_vs_v2"}
    impression = {**of, "variant_id": "v1", "success": True}
    headers = {**running.headers, "content-type": "application/json"}
    for path, body in (
        ("assign", {**of, "user_id": "ann", "context": {"task": "\ud800"}}),
        ("assign", {**of, "user_id": "\ud800"}),
        ("impressions", {**impression, "event_id": "\ud800"}),
        ("impressions", {**impression, "event_id": "a\0b"}),
        ("impressions", {**impression, "metrics": {"\ud800": float("nan")}}),
        ("impressions", {**impression, "metrics": {"a\0": float("nan")}}),
        ("impressions", {**impression, "metrics": {"latency_ms": -5.0}}),
        ("impressions", {**impression, "context": {"\ud800": "a"}}),
    ):
        answer = api.post(f"/ab-testing/{path}", content=json.dumps(body), headers=headers)
        assert answer.status_code == 422, (body, answer.text)


def test_a_session_keeps_its_variant_and_a_request_without_one_is_a_unit_of_its_own(
    running: Caller, api: TestClient
) -> None:
    seen: dict[str, set[str]] = {}
    for session in [f"s{number}" for number in range(6)] * 2:
        headers = {**running.headers, "x-session-id": session}
        answer = api.post("/inference", json={**ASK, "model": "amazon_v1_vs_v2"}, headers=headers).json()
        seen.setdefault(session, set()).add(answer["variant"])
    assert all(len(variants) == 1 for variants in seen.values())
    assert {next(iter(variants)) for variants in seen.values()} == {"v1", "v2"}
    for _ in range(3):
        running.post("/inference", {**ASK, "model": "amazon_v1_vs_v2"})
    told = results(running)
    assert sum(each["units"] for each in told["variants"].values()) == 9
    assert told["independent_units"] == 3


def test_openai_clients_are_told_the_variant_whole_and_in_pieces(running: Caller, api: TestClient) -> None:
    assert "amazon_v1_vs_v2" in [
        model["id"] for model in running.get("/v1/models")["data"] if model["kind"] == "experiment"
    ]
    asked = {
        "model": "amazon_v1_vs_v2",
        "messages": ASK["messages"],
        "max_tokens": 2,
        "user": "ann",
        "metadata": {"retailer": "amazon"},
    }
    whole = running.post("/v1/chat/completions", asked)
    assert whole["experiment"] == "amazon_v1_vs_v2"
    streamed = api.post("/v1/chat/completions", json={**asked, "stream": True}, headers=running.headers)
    assert f'"variant": "{whole["variant"]}"' in streamed.text
    told = results(running)
    assert told["variants"][whole["variant"]]["impressions"] == 2


def test_requests_that_are_not_targeted_get_the_control_and_are_not_counted(mine: Caller) -> None:
    mine.post("/ab-testing/experiments", {**SEED, "targeting": {"retailer": ["amazon"]}}, 201)
    mine.post("/ab-testing/experiments/amazon_v1_vs_v2/start", None)
    for number in range(6):
        asked = {
            **ASK,
            "model": "amazon_v1_vs_v2",
            "user_id": f"u{number}",
            "context": {"retailer": "kroger"},
        }
        answer = mine.post("/inference", asked)
        assert answer["adapters"][0]["name"] == "amazon_v1"
        assert answer["variant"] is None
    assert sum(each["exposed_units"] for each in results(mine)["variants"].values()) == 0


def test_a_name_that_an_experiment_took_over_is_answered_by_its_variants_and_promoted_by_a_swap(
    mine: Caller, console: Console, workspace: Any
) -> None:
    mine.post("/ab-testing/experiments", two_versions(), 201)
    before = mine.post("/inference", {**ASK, "model": "amazon", "user_id": "ann"})
    assert before["variant"] is None
    mine.post("/ab-testing/experiments/live/start", None)
    answers = [mine.post("/inference", {**ASK, "model": "amazon", "user_id": f"u{n}"}) for n in range(8)]
    assert {(each["variant"], each["adapters"][0]["version"]) for each in answers} == {("new", 2), ("old", 1)}
    nobody = mine.post("/ab-testing/experiments/live/promote", None, 409)
    assert "has won" in nobody["error"]["what"]
    promoted = mine.post("/ab-testing/experiments/live/promote", {"variant_id": "old"})
    assert promoted["state"] == "promoted"
    assert mine.get("/composition/swaps")["items"][0]["to_version"] == 1
    for model in ("amazon", "live"):  # the name, and the experiment, which answers for good
        assert mine.post("/inference", {**ASK, "model": model})["adapters"][0]["version"] == 1
    back = mine.post("/ab-testing/experiments/live/rollback", {"reason": "complaints"})
    assert back["state"] == "rolled_back"
    assert mine.post("/inference", {**ASK, "model": "amazon"})["adapters"][0]["version"] == 2
    with console.database.reading() as s:
        actions = [entry.action for entry in audit.list_entries(s, workspace.tenant.id)]
    wanted = ["created", "started", "promoting", "promoted", "rolled_back"]
    assert [
        each.removeprefix("experiment.") for each in reversed(actions) if each.startswith("exp")
    ] == wanted


def test_a_composition_is_promoted_as_the_next_version_of_a_federation(mine: Caller) -> None:
    mine.save("house", {"terms": [{"adapter": "amazon_v1"}]})
    both = {"terms": [{"adapter": "amazon_v1"}, {"adapter": "amazon_v2", "weight": 0.5}]}
    body = {
        **two_versions(),
        "serves": {"kind": "federation", "name": "house"},
        "variants": [
            {"variant_id": "now", "model": "house"},
            {"variant_id": "both", "composition": both},
        ],
    }
    mine.post("/ab-testing/experiments", body, 201)
    mine.post("/ab-testing/experiments/live/start", None)
    mine.post("/ab-testing/experiments/live/promote", {"variant_id": "both"})
    answer = mine.post("/inference", {**ASK, "model": "house"})
    assert answer["model"] == "house v2"
    assert {each["name"] for each in answer["adapters"]} == {"amazon_v1", "amazon_v2"}


def test_a_verdict_is_acted_on_by_itself_once(mine: Caller, console: Console, workspace: Any) -> None:
    body = two_versions(automatic="both")
    body["variants"] = body["variants"][::-1]  # the first version is the control, the second is to win
    mine.post("/composition/swap", {"name": "amazon", "to_version": 1})
    mine.post("/ab-testing/experiments", body, 201)
    mine.post("/ab-testing/experiments/live/start", None)
    for number in range(200):
        variant = ("old", "new")[number % 2]
        record = {
            "experiment_id": "live",
            "variant_id": variant,
            "success": number % 20 < (8 if variant == "old" else 19),
            "user_id": f"u{number}",
        }
        mine.post("/ab-testing/impressions", record, 201)
    keep_once(console)
    keep_once(console)
    found = mine.get("/ab-testing/experiments/live")
    assert (found["state"], found["verdict"], found["winner"]) == ("promoted", "ship", "new")
    assert mine.post("/inference", {**ASK, "model": "amazon"})["adapters"][0]["version"] == 2
    with console.database.reading() as s:
        (entry,) = audit.list_entries(s, workspace.tenant.id, action="experiment.promoted")
    assert entry.actor == "experiment live"
    assert entry.detail["version"] == 2


def test_an_experiment_ends_by_itself_and_requests_go_on(
    mine: Caller, console: Console, workspace: Any
) -> None:
    end = (datetime.now(UTC) + timedelta(seconds=1.2)).isoformat()
    mine.post("/ab-testing/experiments", {**SEED, "ends_at": end}, 201)
    mine.post("/ab-testing/experiments/amazon_v1_vs_v2/start", None)
    time.sleep(1.3)
    keep_once(console)
    found = mine.get("/ab-testing/experiments/amazon_v1_vs_v2")
    assert (found["state"], found["reason"]) == ("stopped", "Its end has come.")
    answer = mine.post("/inference", {**ASK, "model": "amazon_v1_vs_v2", "user_id": "ann"})
    assert answer["adapters"][0]["name"] == "amazon_v1"  # the control
    assert answer["variant"] is None


def test_an_experiment_whose_adapter_was_put_away_is_paused_and_no_request_fails(
    running: Caller, console: Console, workspace: Any
) -> None:
    from app.actions import adapters

    asked = {**ASK, "model": "amazon_v1_vs_v2"}
    variants = {user: running.post("/inference", {**asked, "user_id": user}) for user in map(str, range(9))}
    of_v2 = [user for user, answer in variants.items() if answer["variant"] == "v2"]
    assert of_v2
    adapters.archive_adapter(console, workspace.principal(), variants[of_v2[0]]["adapters"][0]["id"])
    answer = running.post("/inference", {**asked, "user_id": of_v2[0]})
    assert answer["adapters"][0]["name"] == "amazon_v1"
    assert answer["variant"] is None
    found = running.get("/ab-testing/experiments/amazon_v1_vs_v2")
    assert found["state"] == "paused"
    assert "«v2» cannot answer" in found["reason"]
    assert sum(each["impressions"] for each in results(running)["variants"].values()) == 9
    refused = running.post("/ab-testing/experiments/amazon_v1_vs_v2/resume", None, 409)
    assert "cannot answer" in refused["error"]["what"]
    with console.database.reading() as s:
        (entry,) = audit.list_entries(s, workspace.tenant.id, action="experiment.paused")
    assert entry.actor == "system"


def test_what_a_name_means_is_pinned_when_the_experiment_starts(mine: Caller) -> None:
    body = {
        **two_versions(),
        "variants": [{"variant_id": "a", "model": "amazon_v1"}, {"variant_id": "b", "model": "amazon"}],
    }
    del body["serves"]
    mine.post("/ab-testing/experiments", body, 201)
    started = mine.post("/ab-testing/experiments/live/start", None)
    user = next(
        name
        for name in map(str, range(50))
        if mine.post("/ab-testing/assign", {"experiment_id": "live", "user_id": name})["variant"] == "b"
    )
    mine.post("/composition/swap", {"name": "amazon", "to_version": 1})
    answer = mine.post("/inference", {**ASK, "model": "live", "user_id": user})
    assert answer["adapters"][0]["version"] == 2
    assert mine.get("/ab-testing/experiments/live")["variants"] == started["variants"]


def test_all_arms_of_a_shadow_experiment_answer_and_only_the_control_is_seen(
    mine: Caller, console: Console
) -> None:
    mine.post("/ab-testing/experiments", {**SEED, "shadow": True}, 201)
    mine.post("/ab-testing/experiments/amazon_v1_vs_v2/start", None)
    for number in range(4):
        answer = mine.post("/inference", {**ASK, "model": "amazon_v1_vs_v2", "user_id": f"u{number}"})
        assert answer["adapters"][0]["name"] == "amazon_v1"
    console.shadows.wait()
    told = results(mine)
    assert {name: each["impressions"] for name, each in told["variants"].items()} == {"v1": 4, "v2": 4}


def test_a_failure_of_the_arm_counts_against_it_and_a_wrong_request_does_not(
    mine: Caller, api: TestClient
) -> None:
    stage = {"name": "one", "composition": {"terms": [{"adapter": "amazon_v2"}]}, "max_new_tokens": 2}
    strict = {
        "method": "sequential",
        "stages": [{**stage, "contract": {"kind": "schema", "schema": {"required": ["x"]}}}],
    }
    body = {**SEED, "variants": [SEED["variants"][0], {**SEED["variants"][1], "composition": strict}]}
    del body["variants"][1]["adapter_ids"]
    mine.post("/ab-testing/experiments", body, 201)
    mine.post("/ab-testing/experiments/amazon_v1_vs_v2/start", None)
    statuses: dict[str, set[int]] = {}
    for number in range(12):
        user = {"experiment_id": "amazon_v1_vs_v2", "user_id": f"{number}"}
        variant = mine.post("/ab-testing/assign", user)["variant"]
        asked = {**ASK, "model": "amazon_v1_vs_v2", "user_id": f"{number}"}
        status = api.post("/inference", json=asked, headers=mine.headers).status_code
        statuses.setdefault(variant, set()).add(status)
        wrong = {**asked, "max_new_tokens": 1_000_000}
        assert api.post("/inference", json=wrong, headers=mine.headers).status_code == 422
    assert statuses == {"v1": {200}, "v2": {422}}
    told = results(mine)["variants"]
    assert told["v1"]["success_rate"]["value"] == 1.0
    assert told["v2"]["success_rate"]["value"] == 0.0
    assert sum(each["impressions"] for each in told.values()) == 12


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        (
            {"variants": [{**SEED["variants"][0], "traffic_percentage": 0.7}, SEED["variants"][1]]},
            422,
            "sum to",
        ),
        ({"variants": SEED["variants"][:1]}, 422, "two arms"),
        (
            {"variants": [SEED["variants"][0], {"variant_id": "x", "model": "nothing"}]},
            404,
            "«x» cannot answer",
        ),
        ({"variants": [SEED["variants"][0], {"variant_id": "x"}]}, 422, ""),
        ({"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}, 422, "end comes before"),
        ({"experiment_id": "amazon_v1"}, 409, "is what requests call"),
        ({"serves": {"kind": "adapter", "name": "nobody"}}, 404, ""),
        ({"automatic": "promote"}, 422, "Nothing can be promoted"),
        ({"primary": {"name": "success", "margin": -1}}, 422, "margin"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused(
    mine: Caller, change: dict[str, Any], status: int, told: str
) -> None:
    refused = mine.post("/ab-testing/experiments", {**SEED, **change}, status)
    assert told in refused["error"]["what"]
    assert mine.get("/ab-testing/experiments")["items"] == []


def test_impressions_that_cannot_be_are_refused(running: Caller, api: TestClient) -> None:
    good = {"experiment_id": "amazon_v1_vs_v2", "variant_id": "v1", "success": True}
    for change, told in (
        ('"variant_id": "v9"', "no variant"),
        ('"latency_ms": NaN', "latency"),
        ('"latency_ms": -5', "latency"),
        ('"latency_ms": Infinity', "latency"),
        ('"feedback_score": NaN', "feedback"),
    ):
        body = json.dumps(good)[:-1] + f", {change}" + "}"
        headers = {**running.headers, "content-type": "application/json"}
        answer = api.post("/ab-testing/impressions", content=body, headers=headers)
        assert answer.status_code == 422, change
        assert told in answer.json()["error"]["what"]
    assert sum(each["impressions"] for each in results(running)["variants"].values()) == 0


def test_two_experiments_under_one_name_need_one_namespace(mine: Caller) -> None:
    mine.post("/ab-testing/experiments", two_versions(namespace="a", namespace_share=0.5), 201)
    mine.post("/ab-testing/experiments", two_versions(experiment_id="second"), 201)
    mine.post("/ab-testing/experiments", two_versions(experiment_id="third", namespace="a"), 201)
    mine.post("/ab-testing/experiments/live/start", None)
    assert "already" in mine.post("/ab-testing/experiments/second/start", None, 409)["error"]["what"]
    mine.post("/ab-testing/experiments/third/start", None)
    answers = [mine.post("/inference", {**ASK, "model": "amazon", "user_id": f"u{n}"}) for n in range(12)]
    assert {each["experiment"] for each in answers} == {"live", "third"}


def test_who_may_only_read_changes_nothing(running: Caller, api: TestClient, workspace: Any) -> None:
    viewer = Caller(api, workspace.headers(Role.VIEWER))
    for step in ("start", "pause", "resume", "stop", "promote", "rollback"):
        viewer.post(f"/ab-testing/experiments/amazon_v1_vs_v2/{step}", None, 403)
    viewer.post("/ab-testing/experiments/amazon_v1_vs_v2/ramp", {"share": 1.0}, 403)
    results(viewer)


def test_pause_resume_ramp_and_putting_away(mine: Caller) -> None:
    mine.post("/ab-testing/experiments", {**SEED, "share": 0.0}, 201)
    path = "/ab-testing/experiments/amazon_v1_vs_v2"
    mine.post(f"{path}/start", None)
    user = {"experiment_id": "amazon_v1_vs_v2", "user_id": "ann"}
    assert mine.post("/ab-testing/assign", user)["outside"] == "not_in_ramp"
    assert mine.post(f"{path}/ramp", {"share": 1.0})["share"] == 1.0
    variant = mine.post("/ab-testing/assign", user)["variant"]
    assert "cannot fall" in mine.post(f"{path}/ramp", {"share": 0.5}, 409)["error"]["what"]
    mine.post(f"{path}/pause", {"reason": "a holiday"})
    assert mine.post("/ab-testing/assign", user)["outside"] == "not_open"
    mine.post(f"{path}/resume", None)
    assert mine.post("/ab-testing/assign", user)["variant"] == variant
    changing = mine._call("PUT", path, {**SEED, "name": "other"}, 409)
    assert "fixed when the experiment started" in changing["error"]["why"]
    mine.post(f"{path}/stop", None)
    assert mine.delete(path)["state"] == "archived"
    assert mine.get("/ab-testing/experiments")["items"] == []


def test_advice_and_the_comparison_on_the_same_prompts(mine: Caller) -> None:
    advice = mine.post(
        "/ab-testing/advice",
        {
            "experiment": {**SEED, "mode": "fixed", "planned_units": 100},
            "baseline": 0.9,
            "difference": 0.02,
            "units_per_day": 600,
        },
    )
    assert advice["units_per_arm"] == 3213
    prompts = [
        {"messages": [{"role": "user", "content": f"Say {n}."}], "expected": "surely not this"}
        for n in range(3)
    ]
    found = mine.post(
        "/ab-testing/offline",
        {
            "control": {"variant_id": "a", "adapter_ids": ["amazon_v1"]},
            "treatment": {"variant_id": "b", "adapter_ids": ["amazon_v2"]},
            "prompts": prompts,
            "max_new_tokens": 2,
        },
    )
    assert (found["both"], found["neither"], len(found["rows"])) == (0, 3, 3)
    assert found["winner"] is None
    first = found["rows"][0]["control_text"]
    prompts[0]["expected"] = first
    again = mine.post(
        "/ab-testing/offline",
        {
            "control": {"variant_id": "a", "model": "amazon_v1"},
            "treatment": {"variant_id": "b", "model": "amazon_v1"},
            "prompts": prompts[:1],
            "max_new_tokens": 2,
        },
    )
    assert (again["both"], again["difference"]["value"]) == (1, 0.0)


@pytest.fixture
def elsewhere(console: Console) -> Iterator[Database]:
    """The same database as another process has it open."""
    database = Database(console.settings.resolved_database_url)
    yield database
    database.close()


def test_what_another_process_changes_counts_here_a_second_later(
    running: Caller, console: Console, workspace: Any, elsewhere: Database
) -> None:
    asked = {**ASK, "model": "amazon_v1_vs_v2", "user_id": "ann"}
    assert running.post("/inference", asked)["variant"] is not None
    with elsewhere.transaction() as s:
        service.pause_experiment(s, workspace.tenant.id, "amazon_v1_vs_v2", now=console.clock())
    time.sleep(1.1)
    assert running.post("/inference", asked)["variant"] is None
