"""What a run will take: steps, tokens, memory by parts, and time as a band. No torch.

Time is work divided by speed. Work is counted in floating point operations: four per weight and token (two forward,
two backward; the base's own weights get no gradient), six per weight of the adapter, and the output head for the
answers' tokens. Speed comes from the runs that have finished here, of the same base where there are such; before
the first one it is a constant, and the band is wide.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.jobs.records import Job, JobState
from core.training.base_shape import BaseShape, training_dtype
from core.training.records import Estimate, TrainingSpec

# Measured on two cores with AVX512-BF16, base of 3 million weights: 60e9 a second and core alone, 25e9 when busy.
FLOPS_PER_THREAD = 4e10
FLOPS_GPU = 4e13
# Greedy answers of base and adapter are written token by token: bound by steps, not by arithmetic.
SECONDS_PER_EVALUATED_TOKEN = 1 / 450
START_SECONDS = 15.0
WIDE, NARROWEST = 2.5, 1.15
# Bytes that one token leaves for the backward pass in one layer, per unit of hidden and of inner size, in mixed
# precision: inputs of projections, adapters, norms and attention. Measured: 82 MB for 190 tokens in 8 layers of 512
# and 1,376. In float32 it is twice as much (benchmarks/memory_estimate.py).
PER_HIDDEN, PER_INNER = 56, 15
FLOAT32_FACTOR = 2
LOGIT_BYTES = 12
# Python, the libraries and what the allocator keeps. In mixed precision float32 weights are there as bfloat16, too.
PROCESS_BYTES = 680 << 20
COPIED_SHARE = 0.5
MEMORY_MARGIN = 1.05


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Tokens of each training row, and of its answer; how many rows will be evaluated and their answers' tokens."""

    train: tuple[tuple[int, int], ...]
    evaluated_answers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the run will take place. `free_bytes` are those of the memory that the base is loaded into.

    `mixed_precision`: whether it is trained in bfloat16 there, as on a GPU and on processors that multiply in it.
    """

    threads: int
    on_gpu: bool
    free_bytes: int
    base_dtype: str = "auto"
    mixed_precision: bool = True


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What an earlier run took: seconds per operation, seconds per evaluated token, seconds of all the rest."""

    base: str
    training: float
    evaluation: float | None
    rest: float


def finished_runs(jobs: Iterable[Job]) -> list[FinishedRun]:
    """Speeds of the training jobs that have succeeded in one attempt; others say nothing about time."""
    runs = []
    for job in jobs:
        figures = (job.result or {}).get("training") or {}
        if job.state is not JobState.SUCCEEDED or job.attempt != 1 or not figures.get("flops"):
            continue
        evaluation = (job.result or {}).get("evaluation") or {}
        tokens, seconds = figures.get("evaluated_tokens"), evaluation.get("seconds", 0.0)
        runs.append(
            FinishedRun(
                base=str(figures.get("base", "")),
                training=figures["seconds"] / figures["flops"],
                evaluation=seconds / tokens if tokens and seconds else None,
                rest=max(0.0, float((job.result or {}).get("seconds", 0.0)) - figures["seconds"] - seconds),
            )
        )
    return runs


def estimate(
    spec: TrainingSpec,
    lengths: RowLengths,
    base: BaseShape,
    machine: Machine,
    runs: Sequence[FinishedRun] = (),
) -> Estimate:
    """Steps, tokens, seconds (a band) and bytes of a run. `runs` are what `finished_runs` gave."""
    same = [run for run in runs if run.base == base.name] or list(runs)
    low, high = _seconds(spec, lengths, base, machine, same)
    parts = memory_parts(spec, lengths, base, machine)
    return Estimate(
        steps=total_steps(spec, len(lengths.train)),
        train_tokens=round(sum(whole for whole, _ in lengths.train) * spec.epochs),
        seconds_low=low,
        seconds_high=high,
        memory_bytes=round(sum(parts.values()) * MEMORY_MARGIN),
        memory_available_bytes=machine.free_bytes,
        memory_parts=parts,
        calibrated_from_runs=len(same),
    )


def total_steps(spec: TrainingSpec, rows: int) -> int:
    """Optimizer steps of a run over `rows` training rows, as the trainer counts them."""
    batches = -(-rows // spec.batch_size)
    per_epoch = max(1, -(-batches // spec.gradient_accumulation))
    return max(1, int(-(-(per_epoch * spec.epochs) // 1)))


def adapter_parameters(spec: TrainingSpec, base: BaseShape) -> int:
    """Weights of the adapter: rank · (inputs + outputs) of each target layer."""
    return sum(spec.lora.rank * (o + i) for o, i in base.targeted(spec.lora.target_modules).values())


def training_flops(spec: TrainingSpec, lengths: RowLengths, base: BaseShape) -> float:
    """Floating point operations of the whole training."""
    tokens = sum(whole for whole, _ in lengths.train) * spec.epochs
    answers = sum(answer for _, answer in lengths.train) * spec.epochs
    per_token = 4 * base.linear_parameters + 6 * adapter_parameters(spec, base)
    return tokens * per_token + answers * 4 * base.hidden * base.vocabulary


def memory_parts(
    spec: TrainingSpec, lengths: RowLengths, base: BaseShape, machine: Machine
) -> dict[str, int]:
    """Bytes by what takes them, for a batch of the longest rows. Logits are those of answers alone."""
    dtype = training_dtype(machine.base_dtype, on_gpu=machine.on_gpu, quantization=spec.quantization)
    weights, adapter = base.loaded_bytes(dtype, spec.quantization), adapter_parameters(spec, base)
    longest = max((whole for whole, _ in lengths.train), default=1)
    answer = max((answer for _, answer in lengths.train), default=1)
    per_layer = (PER_HIDDEN * base.hidden + PER_INNER * base.inner) * (
        1 if machine.mixed_precision else FLOAT32_FACTOR
    )
    copied = COPIED_SHARE if dtype == "float32" and machine.mixed_precision else 0.0
    # A GPU run recomputes: it keeps the layers' inputs and one layer in full.
    kept = base.layers * 2 * base.hidden + per_layer if machine.on_gpu else base.layers * per_layer
    return {
        "weights": weights,
        "adapter": adapter * 8,
        "optimizer": adapter * 8,
        "activations": spec.batch_size * longest * kept,
        "logits": spec.batch_size * answer * base.vocabulary * LOGIT_BYTES,
        "overhead": PROCESS_BYTES + round(weights * copied),
    }


def _seconds(
    spec: TrainingSpec, lengths: RowLengths, base: BaseShape, machine: Machine, runs: Sequence[FinishedRun]
) -> tuple[float, float]:
    flops = training_flops(spec, lengths, base)
    tokens = sum(lengths.evaluated_answers)
    if not runs:
        speed = FLOPS_GPU if machine.on_gpu else FLOPS_PER_THREAD * machine.threads
        likely = flops / speed + tokens * SECONDS_PER_EVALUATED_TOKEN + START_SECONDS
        return likely / WIDE, likely * WIDE
    written = [run.evaluation for run in runs if run.evaluation] or [SECONDS_PER_EVALUATED_TOKEN]
    guesses = [flops * run.training + tokens * statistics.median(written) + run.rest for run in runs]
    likely = statistics.median(guesses)
    # One run says little about how much they vary; with many, the middle nine tenths are the band.
    if len(guesses) < 5:
        spread = max(1.5, NARROWEST)
        return likely / spread, likely * spread
    cuts = statistics.quantiles(guesses, n=20, method="inclusive")
    return min(cuts[0], likely / NARROWEST), max(cuts[-1], likely * NARROWEST)
