"""Promotions: what serves is what was tested, after its canary; what is rolled back serves no more; a kill is taken up."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.actions import adapters, arm_swaps, compositions, promotion
from app.bootstrap import Console
from app.experiment_keeper import keep_once
from core.compose import swap_steps
from core.compose.canary import Canary
from core.compose.records import CompositionSpec
from core.compose.served import recover_swaps
from core.compose.swap_records import ServedKind
from core.errors import ConflictError, RmnError
from core.tenants import audit
from core.tenants.records import Principal, Role
from tests.app.test_composition_api import Caller, bring, changed

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Map."}], "max_new_tokens": 1}
ALPHA = {"terms": [{"adapter": "alpha"}]}
BETA = {"terms": [{"adapter": "beta"}]}
TOO_SLOW = Canary(time_limit_s=-1.0)  # a test that nothing passes
LIVE = "/ab-testing/experiments/live"


class Killed(BaseException):
    """The process ends here: nothing that catches errors sees it."""


@pytest.fixture
def mine(api: TestClient, workspace: Any, adapter_zip: bytes) -> Caller:
    """A workspace with two adapters, and the federation «shop», which was never swapped."""
    bring(api, workspace, adapter_zip, "alpha")
    bring(api, workspace, changed(adapter_zip, 3.0), "beta")
    caller = Caller(api, workspace.headers(Role.TRAINER))
    caller.save("shop", ALPHA)
    return caller


@pytest.fixture
def trainer(workspace: Any) -> Principal:
    return workspace.principal(Role.TRAINER)  # type: ignore[no-any-return]


def experiment(v1: Any, v2: Any, **more: Any) -> dict[str, Any]:
    return {
        "experiment_id": "live",
        "name": "Which one",
        "min_sample_size": 10,
        "serves": {"kind": "federation", "name": "shop"},
        "variants": [{"variant_id": "v1", **v1}, {"variant_id": "v2", **v2}],
        **more,
    }


def begun(mine: Caller, v1: Any, v2: Any, **more: Any) -> None:
    mine.post("/ab-testing/experiments", experiment(v1, v2, **more), 201)
    mine.post(f"{LIVE}/start", None)


def begun_with_beta(mine: Caller, **more: Any) -> None:
    begun(mine, {"model": "shop"}, {"adapter_ids": ["beta"]}, **more)


def serves(mine: Caller, model: str = "shop") -> tuple[str, str]:
    """What answers a name now, and from which adapter."""
    answer = mine.post("/inference", {**ASK, "model": model})
    return answer["model"], "+".join(each["name"] for each in answer["adapters"])


def won(mine: Caller) -> None:
    for number in range(200):
        record = {
            "experiment_id": "live",
            "variant_id": f"v{1 + number % 2}",
            "success": number % 20 < (8 if number % 2 == 0 else 19),
            "user_id": f"u{number}",
        }
        mine.post("/ab-testing/impressions", record, 201)


def actions(console: Console, tenant_id: str) -> list[str]:
    with console.database.reading() as s:
        found = [entry.action for entry in audit.list_entries(s, tenant_id)]
    return [each.removeprefix("experiment.") for each in reversed(found) if each.startswith("experiment.")]


# --- a federation that was never swapped ---


def test_a_federation_that_was_never_swapped_goes_back_to_the_version_it_had(mine: Caller) -> None:
    begun_with_beta(mine)
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    assert serves(mine) == ("shop v2", "beta")
    (swap,) = mine.get("/composition/swaps")["items"]
    assert (swap["from_version"], swap["to_version"], swap["state"]) == (1, 2, "serving")
    assert mine.post(f"{LIVE}/rollback", {})["state"] == "rolled_back"
    assert serves(mine) == ("shop v1", "alpha")
    assert serves(mine, "live")[1] == "alpha"


def test_an_arm_that_fails_its_canary_never_serves_and_may_be_promoted_later(
    mine: Caller, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with_beta(mine)
    with monkeypatch.context() as patch:
        patch.setattr(console.swaps, "_canary", TOO_SLOW)
        refused = mine.post(f"{LIVE}/promote", {"variant_id": "v2"}, 503)
    assert "did not answer its test" in refused["error"]["what"]
    found = mine.get(LIVE)
    assert found["state"] == "stopped"
    assert found["reason"].startswith("«v2» could not be promoted: The new version did not answer its test")
    assert serves(mine) == ("shop v1", "alpha")
    assert serves(mine, "live")[1] == "alpha"
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    assert serves(mine) == ("shop v2", "beta")  # the version of the first attempt, no third one


def test_without_a_name_the_arm_passes_the_canary_as_well(
    mine: Caller, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with_beta(mine, serves=None)
    with monkeypatch.context() as patch:
        patch.setattr(console.swaps, "_canary", TOO_SLOW)
        mine.post(f"{LIVE}/promote", {"variant_id": "v2"}, 503)
    assert "did not answer its test" in mine.get(LIVE)["reason"]
    assert serves(mine, "live")[1] == "alpha"
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    assert serves(mine, "live")[1] == "beta"


# --- what is promoted is what was tested ---


def test_a_version_that_was_saved_while_the_experiment_ran_is_not_promoted(mine: Caller) -> None:
    mine.save("shop", BETA)
    begun(mine, {"model": "shop@1"}, {"model": "shop"})
    mine.save("shop", {"terms": [{"adapter": "alpha"}, {"adapter": "beta"}]})
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    assert serves(mine) == ("shop v2", "beta")
    assert serves(mine, "live")[1] == "beta"


def test_a_version_whose_names_mean_something_else_now_is_not_what_was_tested(
    mine: Caller, api: TestClient, workspace: Any, adapter_zip: bytes
) -> None:
    mine.save("shop", BETA)
    begun(mine, {"model": "shop@1"}, {"model": "shop@2"})
    bring(api, workspace, changed(adapter_zip, 5.0), "beta")  # from now on «beta» means its second version
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    answer = mine.post("/inference", {**ASK, "model": "shop"})
    assert answer["model"] == "shop v3"
    assert [(each["name"], each["version"]) for each in answer["adapters"]] == [("beta", 1)]


def test_a_name_inside_that_is_swapped_during_the_canary_stops_the_promotion(
    mine: Caller, console: Console, api: TestClient, workspace: Any, adapter_zip: bytes
) -> None:
    mine.save("shop", BETA)
    begun(mine, {"model": "shop@1"}, {"model": "shop@2"})

    class Meanwhile(Canary):
        def ask(self, *given: Any) -> int:
            bring(api, workspace, changed(adapter_zip, 5.0), "beta")
            return super().ask(*given)

    usual = console.swaps._canary
    console.swaps._canary = Meanwhile()
    try:
        refused = mine.post(f"{LIVE}/promote", {"variant_id": "v2"}, 409)
    finally:
        console.swaps._canary = usual
    assert "changed meanwhile" in refused["error"]["what"]
    assert mine.get(LIVE)["state"] == "stopped"
    assert mine.get("/composition/swaps")["items"][0]["state"] == "failed"


def test_an_arm_that_cannot_answer_is_refused_and_the_experiment_goes_on(
    mine: Caller, console: Console, workspace: Any
) -> None:
    begun_with_beta(mine, serves=None)
    (beta,) = (each for each in mine.get("/adapters")["items"] if each["name"] == "beta")
    adapters.archive_adapter(console, workspace.principal(), beta["id"])
    refused = mine.post(f"{LIVE}/promote", {"variant_id": "v2"}, 409)
    assert "«v2» cannot answer" in refused["error"]["what"]
    assert mine.get(LIVE)["state"] == "running"
    for number in range(6):
        mine.post("/inference", {**ASK, "model": "live", "user_id": f"u{number}"})


# --- adapters ---


def test_an_adapter_whose_newest_version_won_goes_back_to_its_control(
    mine: Caller, api: TestClient, workspace: Any, adapter_zip: bytes
) -> None:
    bring(api, workspace, changed(adapter_zip, 5.0), "beta")
    begun(mine, {"model": "beta@1"}, {"model": "beta@2"}, serves={"kind": "adapter", "name": "beta"})
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    bring(api, workspace, changed(adapter_zip, 6.0), "beta")  # what was promoted stays, whatever is newer
    assert serves(mine, "beta")[0] == "beta v2"
    mine.post(f"{LIVE}/rollback", {})
    assert serves(mine, "beta")[0] == "beta v1"


def test_what_can_never_be_promoted_by_itself_is_refused_before_it_begins(mine: Caller) -> None:
    body = experiment(
        {"model": "alpha"}, {"adapter_ids": ["beta"]}, serves={"kind": "adapter", "name": "alpha"}
    )
    refused = mine.post("/ab-testing/experiments", {**body, "automatic": "promote"}, 409)
    assert "is no version of the adapter «alpha»" in refused["error"]["what"]
    assert mine.get("/ab-testing/experiments")["items"] == []
    mine.post("/ab-testing/experiments", body, 201)  # by hand it may be compared
    mine.post(f"{LIVE}/start", None)
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"}, 409)
    assert mine.get(LIVE)["state"] == "running"


@pytest.mark.parametrize("name", ["shop@1", "shop v1"])
def test_an_experiment_serves_a_name_and_not_one_version(mine: Caller, name: str) -> None:
    body = experiment(
        {"model": "shop"}, {"adapter_ids": ["beta"]}, serves={"kind": "federation", "name": name}
    )
    refused = mine.post("/ab-testing/experiments", body, 422)
    assert "no name whose versions can be swapped" in refused["error"]["what"]


# --- by itself ---


def test_a_promotion_that_fails_by_itself_ends_the_experiment_with_its_cause_once(
    mine: Caller, console: Console, workspace: Any
) -> None:
    begun_with_beta(mine, automatic="promote")
    won(mine)
    (beta,) = (each for each in mine.get("/adapters")["items"] if each["name"] == "beta")
    adapters.archive_adapter(console, workspace.principal(), beta["id"])
    for _ in range(3):
        keep_once(console)
    found = mine.get(LIVE)
    assert (found["state"], found["verdict"]) == ("stopped", "ship")
    assert (
        "could not be promoted: The variant «v2» cannot answer: The adapter beta v1 is archived"
        in (found["reason"])
    )
    assert serves(mine) == ("shop v1", "alpha")
    assert actions(console, workspace.tenant.id).count("not_settled") == 1


# --- killed on the way ---


@pytest.mark.parametrize("where", ["before the swap", "in the canary", "after the swap"])
def test_a_promotion_whose_process_was_killed_is_taken_up_again(
    mine: Caller,
    console: Console,
    workspace: Any,
    trainer: Principal,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    begun_with_beta(mine)
    with monkeypatch.context() as patch:
        if where == "before the swap":
            patch.setattr(arm_swaps, "let_serve", killed)
        elif where == "in the canary":
            patch.setattr(Canary, "ask", killed)
            patch.setattr(swap_steps, "fail", lambda *_, **__: None)  # a killed process writes nothing
        else:
            patch.setattr(promotion, "_settle", killed)
        with pytest.raises(Killed):
            promotion.promote(console, trainer, "live", "v2")
    assert mine.get(LIVE)["state"] == "stopped"
    assert serves(mine)[1] == ("beta" if where == "after the swap" else "alpha")
    assert serves(mine, "live")[1] == "alpha"
    refused = mine.post(f"{LIVE}/rollback", {}, 409)
    assert "is being promoted" in refused["error"]["what"]
    mine.delete(LIVE, 409)
    if where == "in the canary":
        keep_once(console)  # its swap may go on in another process
        assert mine.get(LIVE)["state"] == "stopped"
        with console.database.transaction() as s:
            recover_swaps(s, console.clock())
    keep_once(console)
    keep_once(console)
    assert mine.get(LIVE)["state"] == "promoted"
    assert serves(mine) == ("shop v2", "beta")
    assert actions(console, workspace.tenant.id)[-2:] == ["promoting", "promoted"]
    mine.post(f"{LIVE}/rollback", {})
    assert serves(mine) == ("shop v1", "alpha")


def test_several_processes_that_take_up_one_promotion_make_one_version_and_one_swap(
    mine: Caller, console: Console, workspace: Any, trainer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    begun_with_beta(mine)
    with monkeypatch.context() as patch:
        patch.setattr(arm_swaps, "let_serve", killed)
        with pytest.raises(Killed):
            promotion.promote(console, trainer, "live", "v2")
    together = threading.Barrier(4)

    def take_up(_: int) -> str:
        together.wait()
        try:
            promotion.take_up(console, workspace.tenant.id, "live")
        except RmnError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(take_up, range(4)))
    assert all(not each or "is under way" in each for each in told), told
    assert mine.get(LIVE)["state"] == "promoted"
    assert [each["version"] for each in mine.get("/composition/federations/shop/versions")["items"]] == [2, 1]
    served = [each for each in mine.get("/composition/swaps")["items"] if each["state"] == "serving"]
    assert len(served) == 1
    assert actions(console, workspace.tenant.id)[-2:] == ["promoting", "promoted"]
    mine.post(f"{LIVE}/rollback", {})
    assert serves(mine) == ("shop v1", "alpha")


def test_a_rollback_whose_process_was_killed_undoes_nothing_else_when_it_is_asked_again(
    mine: Caller, console: Console, trainer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    mine.save("shop", {"terms": [{"adapter": "alpha"}, {"adapter": "beta"}]})
    mine.post("/composition/federations/shop/rollback", {"version": 1})
    begun_with_beta(mine)
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    assert serves(mine)[0] == "shop v3"
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_settle", killed)
        with pytest.raises(Killed):
            promotion.roll_back(console, trainer, "live")
    assert serves(mine)[0] == "shop v1"
    assert mine.post(f"{LIVE}/rollback", {})["state"] == "rolled_back"
    assert serves(mine)[0] == "shop v1"


def test_a_name_that_was_swapped_since_is_left_as_it_is(
    mine: Caller, console: Console, trainer: Principal
) -> None:
    begun_with_beta(mine)
    mine.post(f"{LIVE}/promote", {"variant_id": "v2"})
    mine.save("shop", {"terms": [{"adapter": "alpha"}, {"adapter": "beta"}]})
    compositions.swap(console, trainer, ServedKind.FEDERATION, "shop", 3)
    refused = mine.post(f"{LIVE}/rollback", {}, 409)
    assert "was swapped again" in refused["error"]["what"]
    assert serves(mine)[0] == "shop v3"
    assert mine.get(LIVE)["state"] == "promoted"


# --- names ---


def test_the_id_of_an_experiment_that_runs_is_no_name_for_a_federation(
    mine: Caller, console: Console, trainer: Principal
) -> None:
    begun_with_beta(mine, serves=None)
    refused = mine.save("live", ALPHA, 409)
    assert "is the id of an experiment" in refused["error"]["what"]
    mine.post(f"{LIVE}/pause", {})
    with pytest.raises(ConflictError, match="is the id of an experiment"):
        compositions.save_federation(console, trainer, "live", "", CompositionSpec())
    mine.post(f"{LIVE}/stop", {})
    mine.save("live", ALPHA)


def test_a_draft_whose_id_was_taken_meanwhile_is_not_started(mine: Caller) -> None:
    mine.post(
        "/ab-testing/experiments",
        experiment({"model": "shop"}, {"adapter_ids": ["beta"]}, serves=None),
        201,
    )
    mine.save("live", ALPHA)
    refused = mine.post(f"{LIVE}/start", None, 409)
    assert "is what requests call" in refused["error"]["what"]
