import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.compose import service as compose
from core.compose.records import CompositionSpec, Term
from core.engine.records import (
    Chunk,
    Composition,
    EnginePort,
    EngineStatus,
    Generation,
    GenerationRequest,
    Message,
)
from core.errors import BusyError, ConflictError, IntegrityError, InvalidInputError, NotFoundError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState
from core.serve.records import AnswerPiece, InferenceAnswer, InferenceRequest
from core.serve.runtime import Runtime
from core.storage.database import Database
from core.tenants import audit
from core.tenants.records import Principal, Tenant

Register = Callable[..., Adapter]
Ask = Callable[..., InferenceRequest]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def adapters(sqlite_database: Database, sqlite_tenant: Tenant, register: Register) -> list[Adapter]:
    with sqlite_database.transaction() as s:
        return [
            register(s, sqlite_tenant, name, seed=i) for i, name in enumerate(("alpha", "beta", "gamma"), 1)
        ]


def spec(*terms: tuple[str, float]) -> CompositionSpec:
    return CompositionSpec(terms=tuple(Term(adapter=a, weight=w) for a, w in terms))


def damage(adapter: Adapter) -> None:
    file = Path(adapter.path) / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_an_answer_says_what_made_it_and_what_it_cost(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], engine: EnginePort, ask: Ask
) -> None:
    alpha, beta, _ = adapters
    answer = runtime.answer(principal, ask(composition=spec(("alpha", 0.5), (beta.id, -1.0))))
    assert answer.request_id.startswith("req_")
    assert [(a.id, a.name, a.version, a.type, a.digest, a.weight) for a in answer.adapters] == [
        (alpha.id, "alpha", 1, "retailer", alpha.digest, 0.5),
        (beta.id, "beta", 1, "retailer", beta.digest, -1.0),
    ]
    assert (answer.model, answer.base_name) == ("composition", engine.status().base_name)
    assert 0 < answer.completion_tokens <= 12
    assert answer.prompt_tokens > 5
    assert answer.latency_ms >= answer.queued_ms >= 0
    assert answer.mean_logprob < 0


def test_base_adapter_and_federation_are_asked_by_name_and_answer_differently(
    runtime: Runtime,
    principal: Principal,
    adapters: list[Adapter],
    sqlite_database: Database,
    ask: Ask,
    now: datetime,
) -> None:
    with sqlite_database.transaction() as s:
        compose.save_federation(
            s,
            principal.tenant_id,
            name="both",
            description="",
            spec=spec(("alpha", 1.0), ("beta", 1.0)),
            created_by="a",
            now=now,
        )
    asked = {name: runtime.answer(principal, ask(model=name)) for name in ("base", "alpha", "beta", "both")}
    assert len({a.text for a in asked.values()}) == len({a.composition_key for a in asked.values()}) == 4
    assert [a.model for a in asked.values()] == ["tiny", "alpha v1", "beta v1", "both v1"]
    assert runtime.answer(principal, ask()).text == asked["base"].text
    assert runtime.answer(principal, ask(composition=spec())).text == asked["base"].text
    assert runtime.answer(principal, ask(composition=spec(("alpha", 1.0)))).text == asked["alpha"].text
    assert asked["base"].adapters == ()


def test_request_ids_are_our_own_and_never_the_same(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: runtime.answer(principal, ask(model="alpha")), range(24)))
    assert len({a.request_id for a in answers}) == 24
    assert len({a.text for a in answers}) == 1


def test_threads_that_ask_for_different_compositions_get_their_own_answers(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    kinds = [spec((name, weight)) for name in ("alpha", "beta", "gamma") for weight in (1.0, -0.5)]
    alone = [runtime.answer(principal, ask(composition=kind)).text for kind in kinds]
    assert len(set(alone)) == len(kinds)
    with ThreadPoolExecutor(12) as threads:
        mixed = threads.map(
            lambda i: runtime.answer(principal, ask(composition=kinds[i % 6])).text, range(60)
        )
    assert list(mixed) == alone * 10


def test_another_tenants_models_are_not_found(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    stranger = replace(principal, tenant_id="ten_other")
    for model in ("alpha", adapters[0].id, "adapter:alpha"):
        with pytest.raises(NotFoundError):
            runtime.answer(stranger, ask(model=model))
    with pytest.raises(NotFoundError):
        runtime.answer(stranger, ask(composition=spec((adapters[0].id, 1.0))))
    assert [m.model for m in runtime.models(stranger)] == ["tiny"]
    assert [m.model for m in runtime.models(principal)] == ["tiny", "alpha", "beta", "gamma"]


def test_the_longest_answer_is_bounded_by_the_settings(
    runtime: Runtime, principal: Principal, sqlite_database: Database, engine: EnginePort, ask: Ask
) -> None:
    with pytest.raises(InvalidInputError, match="limit here is 40"):
        runtime.answer(principal, ask(max_new_tokens=41))
    short = Runtime(sqlite_database, lambda: engine, max_new_tokens=3)
    unsaid = InferenceRequest(messages=ask().messages)
    assert short.answer(principal, unsaid).completion_tokens <= 3


def test_a_damaged_adapter_is_put_away_and_the_version_before_it_answers(
    runtime: Runtime,
    principal: Principal,
    adapters: list[Adapter],
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    register: Register,
    ask: Ask,
) -> None:
    expected = runtime.answer(principal, ask(model="alpha"))
    with sqlite_database.transaction() as s:
        newer = register(s, sqlite_tenant, "alpha", seed=77)
    damage(newer)
    answer = runtime.answer(principal, ask(model="alpha"))
    assert (answer.model, answer.text) == ("alpha v1", expected.text)
    with sqlite_database.transaction() as s:
        assert registry.get_adapter(s, sqlite_tenant.id, newer.id).state is AdapterState.QUARANTINED
        [entry] = audit.list_entries(s, sqlite_tenant.id, action="adapter.quarantined")
        assert (entry.subject, entry.actor) == (newer.id, "system")
    with pytest.raises(ConflictError, match="quarantined"):
        runtime.answer(principal, ask(model=newer.id))
    assert "alpha" in [m.model for m in runtime.models(principal)]
    assert runtime.answer(principal, ask(model="beta")).model == "beta v1"


def test_a_damaged_adapter_without_another_version_says_what_happened(
    runtime: Runtime,
    principal: Principal,
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    register: Register,
    ask: Ask,
) -> None:
    with sqlite_database.transaction() as s:
        adapter = register(s, sqlite_tenant, "only", seed=78)
    damage(adapter)
    with pytest.raises(ConflictError, match=r"No version.*is active"):
        runtime.stream(principal, ask(model="only"))
    assert runtime.answer(principal, ask()).text


def test_twenty_five_bad_adapters_do_not_disturb_live_traffic(
    runtime: Runtime,
    principal: Principal,
    adapters: list[Adapter],
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    register: Register,
    ask: Ask,
) -> None:
    ways: list[Callable[[Path], object]] = [
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]),
        lambda f: (f / WEIGHTS).write_bytes(b"\x80\x04\x95pickle"),
        lambda f: (f / WEIGHTS).unlink(),
        lambda f: (f / CONFIG).write_text("{"),
        lambda f: (f / CONFIG).write_text((f / CONFIG).read_text().replace('"r": 4', '"r": 5')),
    ]
    with sqlite_database.transaction() as s:
        bad = [register(s, sqlite_tenant, f"bad-{i}", seed=100 + i) for i in range(25)]
    for i, adapter in enumerate(bad):
        ways[i % len(ways)](Path(adapter.path))
    expected = {name: runtime.answer(principal, ask(model=name)).text for name in ("alpha", "beta", "base")}
    stop = threading.Event()

    def live(name: str) -> list[str]:
        texts = []
        while not stop.is_set():
            texts.append(runtime.answer(principal, ask(model=name)).text)
        return texts

    with ThreadPoolExecutor(3) as threads:
        running = {name: threads.submit(live, name) for name in expected}
        try:
            for adapter in bad:
                with pytest.raises(ConflictError):
                    runtime.answer(principal, ask(composition=spec(("alpha", 1.0), (adapter.id, 1.0))))
        finally:
            stop.set()
    for name, future in running.items():
        assert set(future.result()) == {expected[name]}
    with sqlite_database.transaction() as s:
        states = [
            registry.get_adapter(s, sqlite_tenant.id, adapter.id).state for adapter in (*bad, *adapters)
        ]
    assert states == [AdapterState.QUARANTINED] * 25 + [AdapterState.ACTIVE] * 3


def test_a_stream_brings_the_same_answer_in_pieces(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    whole = runtime.answer(principal, ask(model="alpha", max_new_tokens=30))
    stream = runtime.stream(principal, ask(model="alpha", max_new_tokens=30))
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [piece.final for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    final = pieces[-1].final
    assert final is not None
    assert (final.text, final.model, final.adapters) == (whole.text, whole.model, whole.adapters)
    assert (final.request_id, stream.model) == (stream.request_id, "alpha v1")
    assert len(pieces) > 2
    assert list(stream) == []


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_stream_that_is_left_frees_the_engine(
    how: str, runtime: Runtime, principal: Principal, adapters: list[Adapter], engine: EnginePort, ask: Ask
) -> None:
    told: list[InferenceAnswer] = []
    runtime._hooks = (lambda p, r, a: told.append(a),)
    stream = runtime.stream(principal, ask(model="alpha", max_new_tokens=40))
    assert isinstance(next(stream), AnswerPiece)
    if how == "close":
        stream.close()
    del stream
    gc.collect()
    deadline = time.monotonic() + 60
    while engine.status().running_rows and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.status().running_rows == 0
    assert told == []


def test_bad_requests_to_stream_are_refused_before_the_first_piece(
    runtime: Runtime, principal: Principal, ask: Ask
) -> None:
    with pytest.raises(NotFoundError):
        runtime.stream(principal, ask(model="nothing"))
    with pytest.raises(InvalidInputError, match="fit"):
        runtime.stream(principal, ask(prompt="x" * 500))


def test_hooks_see_each_whole_answer_and_their_errors_do_not_reach_the_caller(
    sqlite_database: Database,
    engine: EnginePort,
    principal: Principal,
    adapters: list[Adapter],
    ask: Ask,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[tuple[Principal, InferenceRequest, InferenceAnswer]] = []

    def broken(p: Principal, r: InferenceRequest, a: InferenceAnswer) -> None:
        raise RuntimeError("no disk")

    runtime = Runtime(
        sqlite_database, lambda: engine, hooks=[broken, lambda *all_of_it: told.append(all_of_it)]
    )
    request = ask(model="alpha")
    answer = runtime.answer(principal, request)
    final = list(runtime.stream(principal, request))[-1].final
    assert told == [(principal, request, answer), (principal, request, final)]
    assert "answer.hook_failed" in capsys.readouterr().out + caplog.text


@dataclass
class RecordingEngine:
    """An engine of another kind: answers at once, and notes whether the database was free meanwhile."""

    database: Database
    error: Exception | None = None
    calls: list[str] = field(default_factory=list)

    @property
    def base_digest(self) -> str:
        return "0" * 64

    def _work(self, what: str) -> None:
        self.calls.append(what)
        with self.database.transaction():  # would wait for ever behind an open one
            pass
        if self.error is not None:
            raise self.error

    def prepare(self, composition: Composition) -> None:
        self._work("prepare")

    def generate(self, composition: Composition, request: GenerationRequest, **_: Any) -> Generation:
        self._work("generate")
        return Generation("ok", "stop", 1, 1, 0.0, 1.0, -0.1, composition.key)

    def stream(self, composition: Composition, request: GenerationRequest) -> Iterator[Chunk]:
        yield Chunk("ok", self.generate(composition, request))

    def features(self, messages: Sequence[Message]) -> tuple[float, ...]:
        return (0.0,)

    def module_names(self) -> tuple[str, ...]:
        return ()

    def unload(self, digest: str) -> bool:
        return False

    def status(self) -> EngineStatus:
        return EngineStatus(True, "other", self.base_digest, "cpu", "float32", 0, 0, 0, 0, 0, 0, 0)

    def close(self) -> None:
        pass


def test_any_engine_serves_and_none_is_called_inside_a_transaction(
    sqlite_database: Database, principal: Principal, ask: Ask
) -> None:
    engine = RecordingEngine(sqlite_database)
    runtime = Runtime(sqlite_database, lambda: engine)
    assert runtime.answer(principal, ask()).text == "ok"
    assert [piece.text for piece in runtime.stream(principal, ask())] == ["ok"]
    assert engine.calls == ["generate", "generate"]


@pytest.mark.parametrize("error", [BusyError("Too much at once."), IntegrityError("Bytes changed.")])
def test_what_the_engine_raises_reaches_the_caller_when_no_adapter_is_to_blame(
    error: Exception, sqlite_database: Database, principal: Principal, ask: Ask
) -> None:
    engine = RecordingEngine(sqlite_database, error)
    runtime = Runtime(sqlite_database, lambda: engine)
    for call in (runtime.answer, runtime.stream):
        with pytest.raises(type(error)):
            call(principal, ask())
    assert engine.calls == ["generate", "generate"]


def test_adapters_of_another_base_are_refused_with_the_reason(
    sqlite_database: Database, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    runtime = Runtime(sqlite_database, lambda: RecordingEngine(sqlite_database))
    with pytest.raises(ConflictError, match="another base model"):
        runtime.answer(principal, ask(model="alpha"))
    assert [m.model for m in runtime.models(principal)] == ["other"]
