"""Rows 27, 38 and 39: one tenant asks without end, many ask for the same thing at once, clocks jump."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api.application import build_api
from app.bootstrap import Console, build_console
from app.rates import Rates
from core.errors import BusyError
from core.tenants.records import Role

Workspace = Any


def ask(api: TestClient, who: Workspace, number: int = 1, **more: Any) -> Any:
    asked = {"messages": [{"role": "user", "content": f"say {number}"}], "max_new_tokens": 4, **more}
    return api.post("/inference", json=asked, headers=who.headers(Role.VIEWER))


@contextmanager
def another(console: Console, **settings: Any) -> Iterator[TestClient]:
    """The API of the same installation with other settings."""
    made = build_console(console.settings.model_copy(update=settings))
    # The engine's own settings need an engine of their own; all others share the one that is open.
    own_engine = {"max_queue_rows", "adapter_slots"} & set(settings)
    with TestClient(
        build_api(made if own_engine else replace(made, engine=console.engine, runtime=console.runtime))
    ) as api:
        yield api
    made.close()


def test_row_27_a_tenant_over_its_rate_waits_and_the_others_are_served(
    console: Console, ours: Workspace, theirs: Workspace
) -> None:
    console.engine()
    with another(console, requests_per_minute=20) as api, ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(ask, api, ours, n) for n in range(60)]
        calm = [ask(api, theirs, n) for n in range(10)]
        answers = [each.result() for each in flood]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(answers) - len(refused) == 20
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in refused:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.json()["error"]["next_step"]
    assert [answer.status_code for answer in calm] == [200] * 10


def test_row_27_all_keys_of_a_tenant_share_its_rate(console: Console, ours: Workspace) -> None:
    with another(console, requests_per_minute=4) as api:
        answers = [api.get("/adapters", headers=ours.headers(role)).status_code for role in (*Role, *Role)]
        assert answers == [200] * 4 + [429] * 4
        # Who has no key costs no tenant anything, and health always answers.
        assert api.get("/health").status_code == 200
        assert api.get("/adapters").status_code == 401


def test_row_27_a_time_of_day_that_jumps_neither_frees_nor_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = [0.0]
    rates = Rates(3, lambda: passed[0])
    for _ in range(3):
        rates.count_request("a")
    real = time.time
    for jump in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        with pytest.raises(BusyError) as refused:
            rates.count_request("a")
        assert 1 <= refused.value.retry_after_s <= 60
    passed[0] += 60
    rates.count_request("a")


def test_row_38_many_who_ask_for_a_cold_adapter_at_once_load_it_once(
    console: Console, ours: Workspace, theirs: Workspace
) -> None:
    engine = console.engine()
    for who in (ours, theirs):
        engine.unload(who.things["digest"])
    resident = engine.status().adapters_resident
    start = threading.Barrier(12)
    with another(console) as api:

        def storm(number: int) -> str:
            start.wait()
            answer = ask(api, ours if number % 2 else theirs, model="alpha")
            assert answer.status_code == 200, answer.text
            return str(answer.json()["text"])

        with ThreadPoolExecutor(12) as pool:
            texts = list(pool.map(storm, range(12)))
        assert engine.status().adapters_resident == resident + 2
        assert set(texts[1::2]) == {ask(api, ours, model="alpha").json()["text"]}
        assert set(texts[0::2]) == {ask(api, theirs, model="alpha").json()["text"]}


def test_row_38_what_was_not_found_is_found_as_soon_as_it_is_there(
    api: TestClient, ours: Workspace, adapter_zip: Callable[..., bytes]
) -> None:
    assert ask(api, ours, model="late").status_code == 404
    sent = {"file": ("a.zip", adapter_zip(9))}
    made = api.post("/adapters", headers=ours.headers(), files=sent, data={"name": "late", "type": "task"})
    assert made.status_code == 201
    assert ask(api, ours, model="late").status_code == 200


def test_row_38_one_slot_serves_many_adapters_in_turn(
    console: Console, ours: Workspace, theirs: Workspace
) -> None:
    with another(console, adapter_slots=1) as api:
        expected = {who.tenant_id: ask(api, who, model="alpha").json()["text"] for who in (ours, theirs)}
        with ThreadPoolExecutor(6) as pool:
            asked = [(who, pool.submit(ask, api, who, model="alpha")) for who in (ours, theirs) * 8]
        for who, answer in asked:
            assert answer.result().json()["text"] == expected[who.tenant_id]
    assert len(set(expected.values())) == 2
