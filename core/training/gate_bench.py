"""Where a gate is judged: the base with the adapters on it, and held-out rows that every policy answers.

A policy without a gate is generated once; one that chooses an adapter per request (the router) needs no generation of
its own, because its answer to a row is the answer of the adapter that it chose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch

from core.compose.gate_report import Policy, RowResult
from core.compose.records import GateKind
from core.engine.base import LoadedBase, load_base
from core.engine.prompt import Prompter
from core.engine.records import Message
from core.errors import ConflictError, IntegrityError
from core.registry import service as registry
from core.registry.bases import base_folder
from core.settings import Settings
from core.storage.digests import digest_base_folder
from core.training.answers import Question, greedy_answers, questions
from core.training.evaluate import BATCH_ROWS, MARGIN
from core.training.gate_model import AdapterMixture, read_factors
from core.training.gate_router import LabelledFeatures
from core.training.gate_spec import GateData, GateTrainingSpec, KnownGate, Labelled, evaluated
from core.training.progress import Progress
from core.training.prompts import prompt_turns
from core.training.score import Answered, score_answered


@dataclass(frozen=True, slots=True)
class Bench:
    """What everything below works with: the base with the adapters on it, and the rows."""

    spec: GateTrainingSpec
    known: KnownGate
    base: LoadedBase
    mixture: AdapterMixture
    data: GateData
    rows: tuple[Labelled, ...]  # held-out rows that every policy answers
    asked: list[Question]
    progress: Progress

    @property
    def labels(self) -> list[str]:
        """What the adapters are called."""
        return [adapter.label for adapter in self.known.adapters]

    @property
    def steps(self) -> int:
        """Answers that the whole job writes: of base, adapters, their mean, and a gate that is not a router."""
        policies = len(self.known.adapters) + 2 + (self.spec.kind is not GateKind.ROUTER)
        return policies * len(self.rows)


def set_up(
    spec: GateTrainingSpec,
    known: KnownGate,
    data: GateData,
    settings: Settings,
    models_dir: Path,
    progress: Progress,
) -> Bench:
    """Load the base, check the adapters and put them on it. Take the mixture off again when done.

    Raises InvalidInputError (no held-out rows), ConflictError (another base), IntegrityError, RefusedFileError.
    """
    rows = evaluated(data, spec.evaluation_rows, spec.seed)
    progress.enter("loading the base")
    torch.manual_seed(spec.seed)
    base = load_base(
        base_folder(settings.base_model, models_dir),
        quantization=settings.base_quantization,
        dtype=settings.base_dtype,
        device=settings.device,
        threads=settings.effective_training_threads,
    )
    if base.digest != known.adapters[0].base_digest:
        raise ConflictError(
            f"The adapter {known.adapters[0].label} was made for another base model.",
            f"It needs {known.adapters[0].base_name}; {base.name} is configured here.",
            "Choose adapters of this base.",
        )
    for adapter in known.adapters:
        registry.check_bytes(adapter)
    dtype = torch.float32 if base.device.type == "cpu" else base.dtype
    mixture = AdapterMixture(base.model, [read_factors(Path(a.path)) for a in known.adapters], dtype)
    base.model.eval()
    asked = questions(base.tokenizer, [row.example for row in rows])
    return Bench(spec, known, base, mixture, data, rows, asked, progress)


def answer_without_gate(bench: Bench) -> tuple[list[Policy], dict[str, float]]:
    """Base, each adapter alone, their mean, and always the most frequent one; with the seconds that each took."""
    adapters = bench.known.adapters
    keys = ["base", *(f"adapter:{adapter.digest}" for adapter in adapters), "uniform"]
    names = ["the base alone", *(f"{label} alone" for label in bench.labels), "the uniform mixture"]
    policies, seconds = [], {}
    for step, (key, name) in enumerate(zip(keys, names, strict=True)):
        bench.progress.enter(f"answering as {name}"[:64])
        begun = monotonic()
        if key == "uniform":
            bench.mixture.use_uniform()
        elif key == "base":
            bench.mixture.use(None)
        else:
            bench.mixture.use_one(step - 1)
        policies.append(Policy(key, name, answer_rows(bench, step)))
        seconds[key] = monotonic() - begun
    counts = [sum(row.label == place for row in bench.data.train) for place in range(len(adapters))]
    frequent = counts.index(max(counts))
    majority = f"always the most frequent, {bench.labels[frequent]}"
    return [*policies, Policy("majority", majority, policies[1 + frequent].rows)], seconds


def answer_rows(bench: Bench, step: int) -> tuple[RowResult, ...]:
    """What the model writes to every held-out row as it is set up now, scored. `step`: policies answered before."""
    base, done = bench.base, step * len(bench.rows)
    answered: dict[int, Answered] = {}
    # Each choice apart: its answers are of a kind, so that none waits for another's longest.
    for label in sorted({row.label for row in bench.rows}):
        places = [i for i, row in enumerate(bench.rows) if row.label == label]
        asked = [bench.asked[i] for i in places]
        room = int(max(len(q.expected) for q in asked) * MARGIN) + 8
        before = done + len(answered)
        written = greedy_answers(
            base.model,
            base.tokenizer,
            asked,
            ends=base.end_tokens,
            max_new_tokens=max(1, min(room, base.context_length - max(len(q.prompt) for q in asked))),
            batch_rows=BATCH_ROWS,
            alive=lambda more, before=before: bench.progress.advance(
                step=before + more, total_steps=bench.steps
            ),  # type: ignore[misc]
        )
        answered.update(zip(places, written, strict=True))
    return tuple(_result(answered[i], row.example.completion) for i, row in enumerate(bench.rows))


def _result(answered: Answered, expected: str) -> RowResult:
    score = score_answered(answered, expected)
    return RowResult(
        score.exact, score.right_fields, score.fields, score.valid_json is not None, score.nats, score.tokens
    )


class Features:
    """What the router sees of prompts: the same numbers as `EnginePort.features`."""

    def __init__(self, base: LoadedBase) -> None:
        model: Any = base.model
        self._prompter = Prompter(base.tokenizer, base.vocabulary_size, base.context_length)
        self._table = model.get_input_embeddings().weight.detach()

    def of(self, rows: Sequence[Labelled]) -> LabelledFeatures:
        """Features and labels of rows, in their order."""
        features = np.stack([self._one(row) for row in rows]) if rows else np.zeros((0, self._table.shape[1]))
        return LabelledFeatures(features, np.array([row.label for row in rows], np.int64))

    def _one(self, row: Labelled) -> Any:
        messages = [Message(turn["role"], turn["content"]) for turn in prompt_turns(row.example)]  # type: ignore[arg-type]
        tokens = torch.tensor(self._prompter.encode(messages), device=self._table.device)
        return self._table.index_select(0, tokens).float().mean(0).double().cpu().numpy()


def check_untouched(bench: Bench) -> None:
    """Nothing that the gate was trained on may have changed. Raises IntegrityError."""
    for adapter in bench.known.adapters:
        registry.check_bytes(adapter)
    if digest_base_folder(bench.base.folder) != bench.base.digest:
        raise IntegrityError("The base changed while the gate was trained.", "", "Train the gate again.")
