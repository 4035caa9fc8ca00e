"""One gate job, from its row to a gate with its report. Read it from top to bottom.

It takes seconds to minutes, so an attempt that was killed begins anew; nothing is visible before the last transaction,
which keeps the gate and ends the job.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch

from core.compose import gates
from core.compose.gate_files import GateFile, write_gate_file
from core.compose.gate_records import GateAdapter
from core.compose.gate_report import GATE, Policy, RowResult, compare, decide, routing
from core.compose.records import GateKind
from core.compose.router import Routed, Router, router_of, router_tensors
from core.engine.records import TokenGate
from core.jobs import service as jobs
from core.jobs.records import Job
from core.settings import Settings
from core.storage.database import Database
from core.tenants import audit
from core.training.answers import questions
from core.training.gate_bench import (
    Bench,
    Features,
    answer_rows,
    answer_without_gate,
    check_untouched,
    set_up,
)
from core.training.gate_router import train_router
from core.training.gate_spec import GateTrainingSpec, Labelled, look_up, read_data
from core.training.gate_static import train_gains
from core.training.progress import Clock, Progress, Stop
from core.training.service import MODELS_DIR

STATIC_ROWS, STATIC_CHECKED = (
    48,
    8,
)  # validation rows of each adapter that a static gate sees; those it is chosen by
CHOICES_TIMED = 200
Tensors = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trained:
    """A gate before it is written: its numbers, how it answered, and what its kind adds to the report."""

    tensors: Tensors
    modules: tuple[str, ...]
    answers: tuple[RowResult, ...]
    facts: dict[str, Any]
    cost: dict[str, Any]


def run_gate(
    job: Job,
    *,
    database: Database,
    settings: Settings,
    stop: Stop,
    clock: Clock,
    models_dir: Path = MODELS_DIR,
) -> None:
    """Run a claimed job to its end: on return it has succeeded with exactly one gate.

    Raises RunCancelledError, RunInterruptedError, ConflictError when a newer attempt owns the job, and any RmnError
    that says why it cannot be done.
    """
    started = monotonic()
    spec = GateTrainingSpec.model_validate(job.spec)
    progress = Progress(database, job, stop, clock)
    progress.enter("reading the rows")
    with database.reading() as s:
        known = look_up(s, job.tenant_id, spec)
    data = read_data(known, spec)
    bench = set_up(spec, known, data, settings, models_dir, progress)
    try:
        others, seconds = answer_without_gate(bench)
        trained = _TRAIN[spec.kind](bench, others)
    finally:
        bench.mixture.remove()
    check_untouched(bench)
    report = _report(bench, trained, others, seconds)
    progress.advance(step=bench.steps, total_steps=bench.steps)
    progress.enter("writing it down")
    _publish(job, bench, trained, report, monotonic() - started, database, settings, clock)


def _train_router(bench: Bench, others: Sequence[Policy]) -> Trained:
    bench.progress.enter("training the router")
    begun = monotonic()
    adapters, data = bench.known.adapters, bench.data
    classes = len(adapters) + data.with_base
    seen = Features(bench.base)
    weights = train_router(
        seen.of(data.train), seen.of(data.validation), classes=classes, labels=[*bench.labels, "the base"]
    )
    tensors = router_tensors(weights)
    # Judged as it will serve: with the numbers as its file will hold them.
    router = router_of(_file(bench, tensors, ()))
    train_seconds = monotonic() - begun
    bench.progress.enter("routing held-out prompts")
    test = seen.of(data.test)
    routed = [router.choose(row) for row in test.features]
    facts = routing(routed, test.labels.tolist(), [*bench.labels, "the base"], router)
    by_key = {policy.key: policy.rows for policy in others}
    answers = tuple(
        by_key["base" if choice.chosen is None else f"adapter:{choice.chosen}"][i]
        for i, choice in enumerate(_choices(seen, router, bench.rows))
    )
    cost = {
        "train_seconds": train_seconds,
        "choose_us": _time_a_choice(router, test.features[0]),
        "adapters_at_once": 1,
    }
    return Trained(tensors, (), answers, {"routing": facts}, cost)


def _choices(seen: Features, router: Router, rows: Sequence[Labelled]) -> list[Routed]:
    return [router.choose(row) for row in seen.of(rows).features]


def _train_static(bench: Bench, _others: Sequence[Policy]) -> Trained:
    bench.progress.enter("training the gains")
    begun = monotonic()
    # The adapters know their training rows by heart; how much of each helps shows on rows that they never saw.
    draw = random.Random(bench.spec.seed)
    learn: list[Labelled] = []
    check: list[Labelled] = []
    for place in range(len(bench.known.adapters)):
        own = [row for row in bench.data.validation if row.label == place]
        own = draw.sample(own, min(len(own), STATIC_ROWS))
        checked = min(STATIC_CHECKED, len(own) // 3)
        learn, check = learn + own[checked:], check + own[:checked]
    learned = train_gains(
        bench.base.model,
        bench.mixture,
        *(questions(bench.base.tokenizer, [row.example for row in rows]) for rows in (learn, check)),
        steps=bench.spec.steps,
        seed=bench.spec.seed,
        alive=lambda _: bench.progress.advance(),
    )
    train_seconds = monotonic() - begun
    bench.progress.enter("answering with the gate")
    bench.mixture.use(learned.gains)
    answers = answer_rows(bench, len(bench.known.adapters) + 2)
    gains = learned.gains.numpy()
    strength = np.abs(gains).mean(1)
    facts = {
        "gains": [
            {"label": label, "mean": float(g.mean()), "least": float(g.min()), "most": float(g.max())}
            for label, g in zip(bench.labels, gains, strict=True)
        ],
        "utilisation": _shares(bench.labels, strength),
        "curve": [{"step": step, "loss": loss} for step, loss in learned.curve],
        "best_step": learned.best_step,
    }
    cost = {"train_seconds": train_seconds, "adapters_at_once": len(gains), "rows": len(learn) + len(check)}
    return Trained({"gains": gains}, bench.mixture.modules, answers, {"static": facts}, cost)


def evaluate_token_gate(bench: Bench, _others: Sequence[Policy]) -> Trained:
    """The token gate (G2) needs no training: it answers, and how much of each adapter acted is measured."""
    gate = TokenGate(bench.spec.top_k, bench.spec.temperature)
    bench.progress.enter("answering with the gate")
    bench.mixture.use(torch.ones(bench.mixture.shape), gate)
    answers = answer_rows(bench, len(bench.known.adapters) + 2)
    bench.mixture.shares = torch.zeros(bench.mixture.adapters, dtype=torch.float64)
    with torch.inference_mode():
        for q in bench.asked:
            ids = torch.tensor([q.prompt + q.expected], device=bench.base.device)
            bench.base.model(input_ids=ids, use_cache=False)
    shares, bench.mixture.shares = bench.mixture.shares.numpy(), None
    facts = {
        "utilisation": _shares(bench.labels, shares),
        "top_k": gate.top_k,
        "temperature": gate.temperature,
    }
    tensors = {
        "top_k": np.array([gate.top_k], np.float32),
        "temperature": np.array([gate.temperature], np.float32),
    }
    cost = {"train_seconds": 0.0, "adapters_at_once": min(gate.top_k, len(bench.known.adapters))}
    return Trained(tensors, (), answers, {"token": facts}, cost)


_TRAIN = {
    GateKind.ROUTER: _train_router,
    GateKind.STATIC: _train_static,
    GateKind.TOKEN: evaluate_token_gate,
}


def _time_a_choice(router: Router, features: Any) -> float:
    """Median microseconds of one choice on this machine."""
    times = []
    for _ in range(CHOICES_TIMED):
        begun = perf_counter()
        router.choose(features)
        times.append(perf_counter() - begun)
    return float(np.median(times)) * 1e6


def _shares(labels: Sequence[str], amounts: Any) -> list[dict[str, Any]]:
    total = float(amounts.sum()) or 1.0
    return [
        {"label": label, "value": float(each) / total} for label, each in zip(labels, amounts, strict=True)
    ]


def _report(
    bench: Bench, trained: Trained, others: Sequence[Policy], seconds: dict[str, float]
) -> dict[str, Any]:
    comparison = compare(Policy(GATE, "the gate", trained.answers), others)
    better, reason = decide(comparison)
    datasets = [*bench.known.datasets, bench.known.base_dataset, bench.known.labelled]
    return {
        "kind": bench.spec.kind.value,
        "decision": {"promotable": better, "reason": reason},
        "comparison": comparison,
        **trained.facts,
        "cost": {
            **trained.cost,
            "parameters": int(sum(np.size(each) for each in trained.tensors.values())),
            "answer_seconds": seconds,
        },
        "data": {
            "train": len(bench.data.train),
            "validation": len(bench.data.validation),
            "test": len(bench.data.test),
            "answered": len(bench.rows),
            "datasets": [{"name": d.name, "digest": d.digest} for d in datasets if d is not None],
            "simulated": any(d.simulated for d in datasets if d is not None),
            "seed": bench.spec.seed,
        },
        "base_and_adapters_unchanged": True,
    }


def _file(bench: Bench, tensors: Tensors, modules: tuple[str, ...]) -> GateFile:
    digests = tuple(adapter.digest for adapter in bench.known.adapters)
    return GateFile(bench.spec.kind, bench.base.digest, digests, modules, tensors)


def _publish(
    job: Job,
    bench: Bench,
    trained: Trained,
    report: dict[str, Any],
    seconds: float,
    database: Database,
    settings: Settings,
    clock: Clock,
) -> None:
    """The gate and the end of the job in one transaction: a stale attempt writes neither."""
    path, digest = write_gate_file(settings.home / "gates", _file(bench, trained.tensors, trained.modules))
    now = clock()
    with database.transaction() as s:
        gate = gates.record(
            s,
            job.tenant_id,
            name=bench.spec.name,
            kind=bench.spec.kind,
            base_digest=bench.base.digest,
            digest=digest,
            path=path,
            adapters=[GateAdapter(a.digest, a.name, a.version) for a in bench.known.adapters],
            report=report,
            job_id=job.id,
            created_by=job.submitted_by,
            now=now,
        )
        result = {
            "gate_id": gate.id,
            "gate": gate.label,
            "kind": gate.kind.value,
            "digest": digest,
            "promotable": report["decision"]["promotable"],
            "reason": report["decision"]["reason"],
            "report": report,
            "seconds": seconds,
        }
        jobs.succeed(s, job.id, job.fence, result=result, now=now)
        audit.append(
            s,
            tenant_id=job.tenant_id,
            actor=job.submitted_by,
            action="gate.trained",
            subject=gate.id,
            detail={"name": gate.name, "version": gate.version, "kind": gate.kind.value, "digest": digest},
            now=now,
        )
