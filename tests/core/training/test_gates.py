"""Training of gates: what is learned, what must stay as it was, and that the engine serves what was judged."""

import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.compose import gates
from core.compose.gate_records import Gate, GateState
from core.compose.records import GateKind
from core.compose.router import Router
from core.datasets import service as datasets
from core.datasets.records import Example, Split
from core.datasets.splits import same_prompt
from core.engine.base import LoadedBase, load_base
from core.engine.local import LocalEngine
from core.engine.records import (
    AdapterRef,
    Composition,
    GenerationRequest,
    Message,
    TokenGate,
    WeightedAdapter,
)
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.registry import service as registry
from core.registry.bases import BaseFacts
from core.registry.records import Adapter
from core.settings import Settings
from core.storage.database import Database
from core.storage.digests import digest_adapter_folder, digest_base_folder
from core.tenants.records import Tenant
from core.training.answers import greedy_answers, questions
from core.training.gate_bench import Features
from core.training.gate_failures import explain
from core.training.gate_model import AdapterMixture, first_direction, read_factors
from core.training.gate_router import LabelledFeatures, choose_threshold, train_router
from core.training.gate_runner import run_gate
from core.training.gate_spec import (
    ADAPTER_COLUMN,
    GateSource,
    GateTrainingSpec,
    Labelled,
    evaluated,
    look_up,
    own_dataset,
    read_data,
)
from core.training.gate_static import train_gains
from core.training.progress import RunCancelledError, RunInterruptedError, Stop

WORDS = {"alpha": ("harmonize", "row", "spend"), "planner": ("plan", "budget", "weeks")}
MakeAdapter = Callable[..., Path]


def example(prompt: str, completion: str = "ok", split: Split = Split.TRAIN) -> Example:
    return Example(prompt, completion, split, None, 1)


@pytest.fixture
def base(tiny_base: Path) -> LoadedBase:
    return load_base(tiny_base)


@pytest.fixture
def two_adapters(make_adapter: MakeAdapter) -> list[Path]:
    return [make_adapter(1), make_adapter(2, targets=("q_proj", "down_proj"), rank=3)]


@pytest.fixture
def mixture(base: LoadedBase, two_adapters: list[Path]) -> Iterator[AdapterMixture]:
    made = AdapterMixture(base.model, [read_factors(folder) for folder in two_adapters], torch.float32)
    yield made
    made.remove()


def logits(base: LoadedBase, text: str = "what now?") -> torch.Tensor:
    ids = torch.tensor([base.tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        return base.model(input_ids=ids, use_cache=False).logits[0]


def dense(base: LoadedBase, adapters: list[Path], gains: list[dict[str, float]]) -> torch.Tensor:
    """The oracle: each gain times ΔW merged into the weights, one by one, and taken out again."""
    linears = dict(base.model.named_modules())
    kept = {}
    for folder, of_module in zip(adapters, gains, strict=True):
        for path, factors in read_factors(folder).items():
            weight = linears[path].weight
            kept.setdefault(path, weight.data.clone())
            weight.data += torch.tensor(of_module.get(path, 0.0) * (factors.b @ factors.a)).float()
    out = logits(base)
    for path, before in kept.items():
        linears[path].weight.data = before
    return out


# --- the mixture ---


def test_without_strengths_and_with_strengths_of_zero_the_model_is_the_base_bit_by_bit(
    base: LoadedBase, mixture: AdapterMixture
) -> None:
    before = logits(base)
    mixture.use(torch.zeros(mixture.shape))
    assert torch.equal(logits(base), before)
    mixture.use(None)
    assert torch.equal(logits(base), before)
    mixture.use_one(0)
    assert not torch.equal(logits(base), before)
    mixture.remove()
    assert torch.equal(logits(base), before)


def test_a_one_hot_gate_is_the_adapter_alone_and_constant_gains_are_the_additive_mixture(
    base: LoadedBase, mixture: AdapterMixture, two_adapters: list[Path]
) -> None:
    names = mixture.modules
    for place in (0, 1):
        mixture.use_one(place)
        alone = logits(base)
        mixture.use(None)
        only = [dict.fromkeys(names, 1.0) if i == place else {} for i in (0, 1)]
        torch.testing.assert_close(alone, dense(base, two_adapters, only), atol=2e-5, rtol=1e-4)
    mixture.use(torch.tensor([[0.7], [-0.4]]).expand(mixture.shape))
    mixed = logits(base)
    mixture.use(None)
    weights = [dict.fromkeys(names, 0.7), dict.fromkeys(names, -0.4)]
    torch.testing.assert_close(mixed, dense(base, two_adapters, weights), atol=2e-5, rtol=1e-4)


def test_each_module_has_its_own_gain(
    base: LoadedBase, mixture: AdapterMixture, two_adapters: list[Path]
) -> None:
    draw = torch.Generator().manual_seed(3)
    strengths = torch.randn(mixture.shape, generator=draw)
    mixture.use(strengths)
    mixed = logits(base)
    mixture.use(strengths.clone().requires_grad_())
    torch.testing.assert_close(logits(base), mixed, atol=1e-5, rtol=1e-5)
    mixture.use(None)
    gains = [dict(zip(mixture.modules, row.tolist(), strict=True)) for row in strengths]
    torch.testing.assert_close(mixed, dense(base, two_adapters, gains), atol=5e-5, rtol=1e-4)


def test_a_token_gate_over_all_adapters_at_great_heat_is_the_uniform_mixture(
    base: LoadedBase, make_adapter: MakeAdapter
) -> None:
    folders = [make_adapter(1), make_adapter(2)]
    mixture = AdapterMixture(base.model, [read_factors(f) for f in folders], torch.float32)
    mixture.use_uniform()
    uniform = logits(base)
    mixture.use(torch.ones(mixture.shape), TokenGate(top_k=2, temperature=1e9))
    torch.testing.assert_close(logits(base), uniform, atol=1e-5, rtol=1e-5)
    mixture.use(torch.ones(mixture.shape), TokenGate(top_k=1))
    assert not torch.allclose(logits(base), uniform)
    mixture.remove()


def test_the_direction_of_an_adapter_is_the_first_right_singular_vector_of_its_delta(
    two_adapters: list[Path],
) -> None:
    for factors in read_factors(two_adapters[1]).values():
        _, _, right = np.linalg.svd(factors.b @ factors.a)
        assert abs(first_direction(factors) @ right[0]) == pytest.approx(1.0)


# --- G0 ---


def test_training_of_gains_lowers_the_loss_and_leaves_base_and_adapters_as_they_were(
    base: LoadedBase, mixture: AdapterMixture, two_adapters: list[Path]
) -> None:
    digests = [digest_base_folder(base.folder), *map(digest_adapter_folder, two_adapters)]
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    trainable = [parameter.requires_grad for parameter in base.model.parameters()]
    rows = [example(f"say {i}", "yes yes yes") for i in range(12)]
    asked = questions(base.tokenizer, rows)
    steps: list[int] = []
    learned = [
        train_gains(base.model, mixture, asked[:9], asked[9:], steps=20, seed=5, alive=steps.append)
        for _ in range(2)
    ]
    assert torch.equal(learned[0].gains, learned[1].gains)
    assert learned[0].gains.shape == mixture.shape
    assert steps[:20] == list(range(1, 21))
    assert learned[0].curve[-1][1] < learned[0].curve[0][1]
    assert learned[0].best_step > 0
    after = base.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert [parameter.requires_grad for parameter in base.model.parameters()] == trainable
    assert [digest_base_folder(base.folder), *map(digest_adapter_folder, two_adapters)] == digests


def test_gains_need_rows_and_a_stop_ends_their_training(base: LoadedBase, mixture: AdapterMixture) -> None:
    asked = questions(base.tokenizer, [example(f"say {i}", "yes") for i in range(12)])
    with pytest.raises(InvalidInputError, match="too few rows"):
        train_gains(base.model, mixture, asked[:3], asked[3:], steps=1, seed=0, alive=lambda _: None)

    def stop(step: int) -> None:
        raise RunCancelledError

    with pytest.raises(RunCancelledError):
        train_gains(base.model, mixture, asked[:9], asked[9:], steps=50, seed=0, alive=stop)


# --- G1 ---


def clusters(n: int, seed: int, size: int = 12, centres: int = 3) -> LabelledFeatures:
    draw = np.random.default_rng(seed)
    middles = np.random.default_rng(1).normal(0, 3, (centres, size))
    labels = np.arange(n) % centres
    return LabelledFeatures(middles[labels] + draw.normal(0, 0.5, (n, size)), labels)


def trained_router(seed: int = 0) -> Router:
    weights = train_router(clusters(120, seed), clusters(60, 7), classes=3, labels=["a", "b", "c"])
    return Router(("1", "2", "3"), weights)


def test_the_router_learns_clusters_and_leaves_what_is_far_from_them_to_the_base() -> None:
    router, test = trained_router(), clusters(90, 9)
    routed = [router.choose(x) for x in test.features]
    right = [r.chosen == router.adapters[y] for r, y in zip(routed, test.labels, strict=True)]
    assert sum(right) >= 85
    far = np.random.default_rng(4).normal(0, 3, (50, 12)) + 10
    assert all(router.choose(x).reason == "foreign" for x in far)
    again = [trained_router().choose(x) for x in test.features]
    assert again == routed


def test_a_temperature_makes_the_router_as_sure_as_it_is_right() -> None:
    draw = np.random.default_rng(2)

    def noisy(n: int) -> LabelledFeatures:
        labels = draw.integers(0, 2, n)
        features = draw.normal(0, 1, (n, 40))
        features[:, 0] += np.where(labels == 1, 0.8, -0.8)
        return LabelledFeatures(features, labels)

    weights = train_router(noisy(80), noisy(400), classes=2, labels=["a", "b"])
    assert weights.temperature > 1.2
    test = noisy(1500)
    for temperature, close in ((weights.temperature, True), (weights.temperature / 2.5, False)):
        router = Router(
            ("1", "2"),
            dataclasses.replace(weights, temperature=temperature, threshold=0.01, distance_limit=99),
        )
        routed = [router.choose(x) for x in test.features]
        right = np.mean([r.chosen == "12"[y] for r, y in zip(routed, test.labels, strict=True)])
        sure = np.mean([max(r.probabilities.values()) for r in routed])
        assert bool(abs(sure - right) < 0.05) is close


def test_the_threshold_keeps_wrong_choices_rare() -> None:
    chances = np.array([0.55, 0.6, 0.7, 0.8, 0.9, 0.99])
    assert choose_threshold(chances, np.array([True] * 6)) == 0.5
    assert choose_threshold(chances, np.array([False, True, False, True, True, True])) == 0.8
    assert choose_threshold(chances, np.array([False] * 6)) == 1.0


def test_a_class_without_prompts_is_named() -> None:
    few = LabelledFeatures(np.eye(9), np.array([0] * 8 + [1]))
    with pytest.raises(InvalidInputError, match="planner has 1 training prompts"):
        train_router(few, few, classes=2, labels=["alpha", "planner"])


def test_the_router_is_trained_on_what_the_engine_will_show_it(tiny_base: Path, base: LoadedBase) -> None:
    engine = LocalEngine(load_base(tiny_base))
    try:
        for system, prompt in (("", "harmonize this"), ("be brief", "plan é <|end|> now")):
            row = Labelled(Example(prompt, "x", Split.TEST, None, 1, system=system), 0)
            turns = [Message("system", system)] if system else []
            shown = engine.features([*turns, Message("user", prompt)])
            np.testing.assert_allclose(Features(base).of([row]).features[0], shown, atol=1e-6)
    finally:
        engine.close()


# --- the engine serves what was judged ---


@pytest.mark.parametrize("kind", [GateKind.STATIC, GateKind.TOKEN])
def test_the_engine_writes_the_tokens_that_the_judged_gate_wrote(
    kind: GateKind, tiny_base: Path, base: LoadedBase, make_adapter: MakeAdapter
) -> None:
    folders = [make_adapter(1), make_adapter(2, targets=("q_proj", "down_proj"), rank=3)]
    refs = [AdapterRef(digest_adapter_folder(folder), folder) for folder in folders]
    mixture = AdapterMixture(base.model, [read_factors(folder) for folder in folders], torch.float32)
    strengths = torch.ones(mixture.shape)
    gate = TokenGate(top_k=1) if kind is GateKind.TOKEN else None
    if kind is GateKind.STATIC:
        strengths = torch.linspace(-0.5, 1.5, strengths.numel()).reshape(mixture.shape)
    mixture.use(strengths, gate)
    prompts = ["hello", "what is 3", "say it again"]
    asked = questions(base.tokenizer, [example(p, "") for p in prompts])
    judged = greedy_answers(
        base.model,
        base.tokenizer,
        asked,
        ends=base.end_tokens,
        max_new_tokens=10,
        batch_rows=4,
        alive=lambda _: None,
    )
    terms = tuple(
        WeightedAdapter(ref, 1.0, gains=tuple(zip(mixture.modules, row, strict=True)) if gate is None else ())
        for ref, row in zip(refs, strengths.tolist(), strict=True)
    )
    engine = LocalEngine(load_base(tiny_base))
    try:
        composition = Composition(
            engine.base_digest, terms, method="gated" if gate else "additive", gate=gate
        )
        served = [
            engine.generate(composition, GenerationRequest((Message("user", p),), max_new_tokens=10)).text
            for p in prompts
        ]
    finally:
        engine.close()
    assert served == [answer.text for answer in judged]


# --- rows ---


@dataclasses.dataclass
class Desk:
    """A tenant with two adapters for the tiny base, and a set of prompts for each."""

    database: Database
    settings: Settings
    tenant: Tenant
    adapters: list[Adapter]
    sets: list[str]
    folder: Path
    now: datetime
    modules: frozenset[str]  # every linear layer of the base

    def spec(self, **more: Any) -> GateTrainingSpec:
        sources = [
            GateSource(adapter_id=a.id, dataset_id=d) for a, d in zip(self.adapters, self.sets, strict=True)
        ]
        values = {"name": "chooser", "sources": sources, "evaluation_rows": 8, "steps": 2}
        return GateTrainingSpec.model_validate(values | more)

    def register(self, name: str, rows: list[dict[str, str]]) -> str:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with self.database.transaction() as s:
            return datasets.register_file(s, self.tenant.id, path=path, card=None, name=name, now=self.now).id

    def data(self, spec: GateTrainingSpec) -> Any:
        with self.database.reading() as s:
            known = look_up(s, self.tenant.id, spec)
        return read_data(known, spec)

    def claimed(self, spec: GateTrainingSpec) -> Job:
        with self.database.transaction() as s:
            job = jobs.submit(
                s,
                self.tenant.id,
                kind="gate",
                name="chooser",
                spec=spec.model_dump(mode="json"),
                submitted_by="a",
                now=self.now,
            )
            found = jobs.claim(s, job.id, now=self.now)
        assert found is not None
        return found

    def run(self, job: Job, stop: Stop | None = None) -> None:
        run_gate(
            job,
            database=self.database,
            settings=self.settings,
            stop=stop or Stop(),
            clock=lambda: self.now,
        )


def prompts(name: str, seed: int = 0) -> list[dict[str, str]]:
    draw = random.Random(seed)
    splits = ["train"] * 24 + ["validation"] * 12 + ["test"] * 12
    return [
        {
            "prompt": f"{' '.join(draw.choices(WORDS[name], k=4))} {i}",
            "completion": json.dumps({"n": i}),
            "split": split,
        }
        for i, split in enumerate(splits)
    ]


@pytest.fixture
def desk(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    settings: Settings,
    tiny_base: Path,
    register: Callable[..., Adapter],
    base_facts: BaseFacts,
    tmp_path: Path,
    now: datetime,
) -> Desk:
    with sqlite_database.transaction() as s:
        adapters = [register(s, sqlite_tenant, name, seed=i + 1) for i, name in enumerate(WORDS)]
    chosen = settings.model_copy(
        update={"base_model": str(tiny_base), "training_threads": 1, "device": "cpu"}
    )
    made = Desk(
        sqlite_database, chosen, sqlite_tenant, adapters, [], tmp_path, now, frozenset(base_facts.linears)
    )
    made.sets = [made.register(name, prompts(name)) for name in WORDS]
    return made


def test_no_prompt_that_the_gate_is_judged_on_was_seen_in_any_of_the_sets(desk: Desk) -> None:
    leaking = prompts("planner", seed=1)
    leaking[40]["prompt"] = "  " + prompts("alpha")[0]["prompt"].upper()
    desk.sets[1] = desk.register("leaking", leaking)
    data = desk.data(desk.spec())
    seen = {same_prompt(row.example.prompt) for row in (*data.train, *data.validation)}
    assert not seen & {same_prompt(row.example.prompt) for row in data.test}
    assert [len(part) for part in (data.train, data.validation, data.test)] == [48, 24, 23]
    assert not data.with_base


def test_rows_are_drawn_evenly_and_the_same_again(desk: Desk) -> None:
    spec = desk.spec(train_rows=8)
    data = desk.data(spec)
    assert [sum(row.label == place for row in data.train) for place in (0, 1)] == [8, 8]
    drawn = evaluated(data, 10, seed=3)
    assert [row.label for row in drawn] == [0] * 5 + [1] * 5
    assert drawn == evaluated(desk.data(spec), 10, seed=3)
    with pytest.raises(InvalidInputError, match="nothing to judge"):
        evaluated(dataclasses.replace(data, test=()), 10, seed=3)


def test_one_set_can_name_the_best_adapter_of_each_row_and_the_base(desk: Desk) -> None:
    names = ["alpha", "planner v1", "base"]
    rows = [
        {**row, "prompt": f"{name} {row['prompt']}", ADAPTER_COLUMN: name}
        for name in names
        for row in prompts("alpha")
    ]
    spec = desk.spec(
        sources=[GateSource(adapter_id=a.id, dataset_id=None) for a in desk.adapters],
        labelled_dataset_id=desk.register("labelled", rows),
    )
    data = desk.data(spec)
    assert data.with_base
    assert {row.example.prompt.partition(" ")[0]: row.label for row in data.test} == {
        "alpha": 0,
        "planner": 1,
        "base": 2,
    }
    rows[3][ADAPTER_COLUMN] = "somebody"
    wrong = spec.model_copy(update={"labelled_dataset_id": desk.register("wrong", rows)})
    with pytest.raises(InvalidInputError, match="Line 4 of «wrong» does not name one of these adapters"):
        desk.data(wrong)


def test_what_cannot_be_a_gate_is_refused_before_it_starts(desk: Desk) -> None:
    one = desk.adapters[0]
    with pytest.raises(ValueError, match="named once"):
        desk.spec(sources=[GateSource(adapter_id=one.id, dataset_id="d")] * 2)
    with pytest.raises(ValueError, match="needs a dataset"):
        desk.spec(sources=[GateSource(adapter_id=a.id, dataset_id=None) for a in desk.adapters])
    with desk.database.transaction() as s:
        with pytest.raises(NotFoundError, match="was trained on is not in the library"):
            own_dataset(s, desk.tenant.id, one)
        registry.archive_adapter(s, desk.tenant.id, one.id)
    with desk.database.reading() as s, pytest.raises(ConflictError, match="archived"):
        look_up(s, desk.tenant.id, desk.spec())


# --- whole runs on the random tiny base ---


@pytest.mark.parametrize("kind", list(GateKind))
def test_a_run_ends_with_one_candidate_whose_report_says_why(desk: Desk, kind: GateKind) -> None:
    job = desk.claimed(desk.spec(kind=kind, top_k=1))
    desk.run(job)
    with desk.database.reading() as s:
        (gate,) = gates.list_gates(s, desk.tenant.id)
        done = jobs.get(s, desk.tenant.id, job.id)
    assert (done.state, gate.state, gate.kind, gate.job_id) == (
        JobState.SUCCEEDED,
        GateState.CANDIDATE,
        kind,
        job.id,
    )
    assert done.result is not None
    assert done.result["gate_id"] == gate.id
    assert done.result["report"] == gate.report
    assert (done.step, done.total_steps) == (done.total_steps, (4 + (kind is not GateKind.ROUTER)) * 8)
    assert Path(gate.path).parent == desk.settings.home / "gates"
    assert gate.adapter_digests == tuple(a.digest for a in desk.adapters)
    # A random base answers nothing right, so nothing is shown to be better.
    assert gate.report["decision"]["promotable"] is False
    keys = [policy["key"] for policy in gate.report["comparison"]["policies"]]
    assert keys == ["gate", "base", *(f"adapter:{d}" for d in gate.adapter_digests), "uniform", "majority"]
    assert gate.report["data"]["answered"] == 8
    assert gate.report["base_and_adapters_unchanged"] is True
    if kind is GateKind.ROUTER:
        _check_routing(gate, gates.read_router(gate))
    if kind is GateKind.STATIC:
        gains = gates.read_gains(gate)
        modules = {path for path in desk.modules if path != "lm_head"}
        assert gains.keys() == {a.digest for a in desk.adapters}
        assert all({name for name, _ in of_adapter} == modules for of_adapter in gains.values())


def _check_routing(gate: Gate, router: Router) -> None:
    routing = gate.report["routing"]
    assert routing["n"] == 24
    assert routing["accuracy"]["value"] >= 0.9
    assert sum(map(sum, routing["confusion"])) == 24
    assert gate.report["cost"]["choose_us"] > 0
    assert router.adapters == gate.adapter_digests


def test_a_stop_a_cancel_and_another_base_leave_no_gate(desk: Desk) -> None:
    stop = Stop()
    stop.request()
    job = desk.claimed(desk.spec())
    with pytest.raises(RunInterruptedError):
        desk.run(job, stop)
    with desk.database.transaction() as s:
        jobs.request_cancel(s, desk.tenant.id, job.id, now=desk.now)
    with pytest.raises(RunCancelledError):
        desk.run(job)
    desk.settings = desk.settings.model_copy(update={"base_model": "rmn-tiny-llama"})
    with pytest.raises(ConflictError, match="another base model"):
        desk.run(desk.claimed(desk.spec()))
    with desk.database.reading() as s:
        assert gates.list_gates(s, desk.tenant.id) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("x"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "out of memory"),
        (OSError(28, "No space left on device"), "disk is full"),
        (RuntimeError("odd"), "not foreseen"),
        (InvalidInputError("Wrong.", "So.", "Do."), "Wrong."),
    ],
)
def test_every_failure_is_told_in_words(error: Exception, words: str) -> None:
    told = explain(error)
    assert words in told.what
    assert told.next_step
