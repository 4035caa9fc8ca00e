"""Gated and sequential compositions through the runtime, on the real engine with the tiny base."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.compose import gates
from core.compose.gate_files import GateFile, write_gate_file
from core.compose.gate_records import GateAdapter
from core.compose.pipeline import StageFailedError
from core.compose.records import (
    CompositionSpec,
    ContractKind,
    GateKind,
    GateSpec,
    Method,
    Stage,
    StageContract,
    Term,
)
from core.compose.router import router_tensors
from core.engine.records import EnginePort, Message
from core.errors import InvalidInputError
from core.registry.records import Adapter
from core.serve.records import AnswerLimits, InferenceAnswer, InferenceRequest
from core.serve.runtime import Runtime
from core.storage.database import Database
from core.tenants.records import Principal, Tenant
from core.training.gate_router import LabelledFeatures, train_router

Ask = Callable[..., InferenceRequest]
RECORDS = [f'{{"evt": "click", "sku": "A-{i}", "n": {i * 7}}}' for i in range(24)]
PLANS = [f"Please plan a nice campaign for brand number {i * 3} in spring" for i in range(24)]


@pytest.fixture
def adapters(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Callable[..., Adapter]
) -> list[Adapter]:
    with sqlite_database.transaction() as s:
        return [register(s, sqlite_tenant, name, seed=i) for i, name in enumerate(("alpha", "beta"), 1)]


@pytest.fixture
def desk(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    adapters: list[Adapter],
    engine: EnginePort,
    tmp_path: Path,
    now: datetime,
) -> CompositionSpec:
    """A trained router: records to alpha, plans to beta."""
    features = np.array([engine.features([Message("user", text)]) for text in (*RECORDS, *PLANS)])
    labels = np.repeat([0, 1], 24)
    held = np.arange(48) % 4 == 0
    weights = train_router(
        LabelledFeatures(features[~held], labels[~held]),
        LabelledFeatures(features[held], labels[held]),
        classes=2,
        labels=["alpha", "beta"],
    )
    digests = tuple(adapter.digest for adapter in adapters)
    file = GateFile(GateKind.ROUTER, engine.base_digest, digests, (), router_tensors(weights))
    path, digest = write_gate_file(tmp_path, file)
    with sqlite_database.transaction() as s:
        gates.record(
            s,
            sqlite_tenant.id,
            name="desk",
            kind=GateKind.ROUTER,
            base_digest=engine.base_digest,
            digest=digest,
            path=path,
            adapters=[GateAdapter(a.digest, a.name, a.version) for a in adapters],
            report={},
            job_id=None,
            created_by="a",
            now=now,
        )
    return CompositionSpec(
        method=Method.GATED,
        gate=GateSpec(kind=GateKind.ROUTER, gate="desk@1"),
        terms=(Term(adapter="alpha"), Term(adapter="beta")),
    )


def alone(name: str, **more: Any) -> CompositionSpec:
    return CompositionSpec(terms=(Term(adapter=name, **more),))


def pipe(*stages: Stage) -> CompositionSpec:
    return CompositionSpec(method=Method.SEQUENTIAL, stages=stages)


def stage(name: str, adapter: str, prompt: str = "{input}", **more: Any) -> Stage:
    return Stage(name=name, composition=alone(adapter), prompt=prompt, max_new_tokens=8, **more)


def test_a_router_lets_the_adapter_of_each_prompt_answer(
    runtime: Runtime, principal: Principal, desk: CompositionSpec, ask: Ask
) -> None:
    for prompt, name in ((RECORDS[1], "alpha"), (PLANS[1], "beta")):
        answer = runtime.answer(principal, ask(prompt, composition=desk))
        single = runtime.answer(principal, ask(prompt, model=name))
        assert (answer.text, answer.composition_key) == (single.text, single.composition_key)
        assert [a.name for a in answer.adapters] == [name]
        assert answer.routing is not None
        assert (answer.routing.gate, answer.routing.chosen) == ("desk v1", f"{name} v1")
        assert answer.routing.probability > 0.5
        assert sum(answer.routing.probabilities.values()) == pytest.approx(1)
        assert not answer.routing.abstained


def test_a_prompt_that_a_router_does_not_know_is_answered_by_the_base_and_says_so(
    runtime: Runtime, principal: Principal, desk: CompositionSpec, ask: Ask
) -> None:
    foreign = ask("ÿÿÿÿ éééé ßßßß", composition=desk)
    answer = runtime.answer(principal, foreign)
    assert answer.routing is not None
    assert answer.routing.abstained
    assert (answer.routing.chosen, answer.adapters) == (None, ())
    assert answer.routing.reason in ("foreign", "uncertain")
    assert answer.text == runtime.answer(principal, ask("ÿÿÿÿ éééé ßßßß")).text
    final = list(runtime.stream(principal, foreign))[-1].final
    assert final is not None
    assert final.routing == answer.routing


def test_a_token_gate_and_segments_answer_and_differ_from_all_adapters_everywhere(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    both = (Term(adapter="alpha", weight=2.0), Term(adapter="beta", weight=2.0))
    token = CompositionSpec(method=Method.GATED, gate=GateSpec(kind=GateKind.TOKEN, top_k=1), terms=both)
    low_high = CompositionSpec(
        terms=(
            Term(adapter="alpha", layers=(0, 0), weight=2.0),
            Term(adapter="beta", layers=(1, 1), weight=2.0),
        )
    )
    high_low = CompositionSpec(
        terms=(
            Term(adapter="beta", layers=(0, 0), weight=2.0),
            Term(adapter="alpha", layers=(1, 1), weight=2.0),
        )
    )
    kinds = (CompositionSpec(terms=both), token, low_high, high_low)
    answers = [runtime.answer(principal, ask(composition=kind, max_new_tokens=24)) for kind in kinds]
    assert len({answer.text for answer in answers}) == 4
    assert [(a.name, a.layers) for a in answers[2].adapters] == [("alpha", (0, 0)), ("beta", (1, 1))]


def test_each_stage_sees_only_its_own_adapters_and_the_order_matters(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    there = runtime.answer(
        principal,
        ask(composition=pipe(stage("one", "alpha"), stage("two", "beta", "{one}")), max_new_tokens=8),
    )
    back = runtime.answer(
        principal,
        ask(composition=pipe(stage("one", "beta"), stage("two", "alpha", "{one}")), max_new_tokens=8),
    )
    first = runtime.answer(principal, ask(model="alpha", max_new_tokens=8))
    second = runtime.answer(principal, ask(first.text.strip(), model="beta", max_new_tokens=8))
    one, two = there.stages
    assert (one.text, one.composition_key) == (first.text, first.composition_key)
    assert (two.text, two.composition_key) == (second.text, second.composition_key)
    assert (one.prompt, two.prompt) == ("hello", first.text.strip())
    assert [[a.name for a in s.adapters] for s in there.stages] == [["alpha"], ["beta"]]
    assert there.text == second.text != back.text
    assert there.composition_key != back.composition_key


def test_a_trace_adds_up_to_the_whole(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    spec = pipe(stage("one", "alpha", system="Be short."), stage("two", "beta", "{one} of {input}"))
    answer = runtime.answer(principal, ask(composition=spec, max_new_tokens=3))
    assert answer.prompt_tokens == sum(s.prompt_tokens for s in answer.stages)
    assert answer.completion_tokens == sum(s.completion_tokens for s in answer.stages)
    assert answer.latency_ms >= sum(s.latency_ms for s in answer.stages)
    assert answer.stages[0].system == "Be short."
    assert answer.stages[1].completion_tokens <= 3 < 8
    assert {a.name for a in answer.adapters} == {"alpha", "beta"}
    assert answer.latency_ms >= answer.first_token_ms > answer.stages[0].latency_ms


def test_a_stage_that_breaks_its_contract_stops_the_pipeline_and_is_named(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], engine: EnginePort, ask: Ask
) -> None:
    strict = stage("records", "alpha", contract=StageContract(kind=ContractKind.JSON))
    request = ask(composition=pipe(strict, stage("two", "beta", "{records}")))
    before = engine.status().answered
    for call in (runtime.answer, runtime.stream):
        with pytest.raises(StageFailedError, match=r"(?s)Stage 1 of 2, «records».*no JSON.*It answered: "):
            call(principal, request)
    assert engine.status().answered == before + 2
    last = pipe(stage("one", "alpha"), strict.model_copy(update={"prompt": "{one}"}))
    with pytest.raises(StageFailedError, match="Stage 2 of 2"):
        list(runtime.stream(principal, ask(composition=last)))


def test_a_streamed_pipeline_gives_the_same_answer_and_its_last_stage_in_pieces(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    request = ask(composition=pipe(stage("one", "alpha"), stage("two", "beta", "{one}")))
    whole = runtime.answer(principal, request)
    pieces = list(runtime.stream(principal, request))
    final = pieces[-1].final
    assert final is not None
    assert "".join(piece.text for piece in pieces) == final.text == whole.text
    assert [s.text for s in final.stages] == [s.text for s in whole.stages]
    assert final.composition_key == whole.composition_key


def test_a_pipeline_that_is_cancelled_or_out_of_time_ends_with_what_is_there(
    sqlite_database: Database,
    engine: EnginePort,
    principal: Principal,
    adapters: list[Adapter],
    runtime: Runtime,
    ask: Ask,
) -> None:
    # So long a first stage that nobody can have answered it before the caller is seen to be gone.
    first = stage("one", "alpha").model_copy(update={"max_new_tokens": 60})
    request = ask(composition=pipe(first, stage("two", "beta", "{one}")))
    stopped = runtime.answer(principal, request, cancelled=lambda: True)
    assert (stopped.finish_reason, stopped.text, len(stopped.stages)) == ("cancelled", "", 1)
    hasty = Runtime(
        sqlite_database, lambda: engine, limits=lambda _: AnswerLimits(share=2.0, time_limit_s=1e-6)
    )
    late = hasty.answer(principal, request)
    assert (late.finish_reason, late.text, len(late.stages)) == ("timeout", "", 1)


def test_a_pipeline_answers_a_question_only(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    with pytest.raises(InvalidInputError, match="one of the user"):
        runtime.answer(
            principal,
            ask(
                composition=pipe(stage("one", "alpha")),
                messages=(Message("user", "a"), Message("assistant", "b")),
            ),
        )


def test_a_hook_before_may_choose_what_answers_and_those_after_see_that(
    sqlite_database: Database, engine: EnginePort, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    told: list[tuple[InferenceRequest, InferenceAnswer]] = []

    def variant(_: Principal, request: InferenceRequest) -> InferenceRequest:
        return request.model_copy(update={"model": "beta"})

    runtime = Runtime(
        sqlite_database, lambda: engine, before=[variant], hooks=[lambda _, r, a: told.append((r, a))]
    )
    answer = runtime.answer(principal, ask(model="alpha"))
    assert answer.model == "beta v1"
    assert [(r.model, a) for r, a in told] == [("beta", answer)]


def test_tokens_tell_how_sure_the_model_was_when_that_is_asked(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], ask: Ask
) -> None:
    plain = runtime.answer(principal, ask(model="alpha"))
    told = runtime.answer(principal, ask(model="alpha", logprobs=True))
    assert plain.logprobs is None
    assert told.logprobs is not None
    assert len(told.logprobs) == told.completion_tokens
    means = [sum(getattr(t, name) for t in told.logprobs) for name in ("logprob", "entropy")]
    assert [mean / len(told.logprobs) for mean in means] == pytest.approx(
        [told.mean_logprob, told.mean_entropy], abs=1e-4
    )
    assert min(t.margin for t in told.logprobs) == pytest.approx(told.min_margin, abs=1e-6)


def test_what_was_pinned_is_let_go_in_every_path(
    runtime: Runtime, principal: Principal, adapters: list[Adapter], desk: CompositionSpec, ask: Ask
) -> None:
    strict = stage("one", "alpha", contract=StageContract(kind=ContractKind.JSON))
    runtime.answer(principal, ask(model="alpha"))
    runtime.answer(principal, ask(RECORDS[2], composition=desk))
    list(runtime.stream(principal, ask(model="beta")))
    for request in (ask(composition=pipe(strict, stage("two", "beta"))), ask("x" * 500, model="beta")):
        for call in (runtime.answer, runtime.stream):
            with pytest.raises(InvalidInputError):
                call(principal, request)
    left = runtime.stream(principal, ask(composition=pipe(stage("one", "alpha"), stage("two", "beta"))))
    left.close()
    left.close()
    dropped = runtime.stream(principal, ask(model="alpha"))
    del dropped
    assert [entry.pins for entry in runtime.cache.get_cache_stats().entries] == [0, 0]
