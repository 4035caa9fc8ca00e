"""Submit a training run, or ask what it would take: everything that can be known before it starts is checked here.

Looking up and writing are short transactions; between them, with none open, the dataset is read and measured.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.datasets import service as datasets
from core.datasets.records import Dataset, DatasetKind, Example, Split
from core.engine.memory import free_bytes
from core.errors import ConflictError, InsufficientMemoryError, InvalidInputError, UnavailableError
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.registry import service as registry
from core.registry.bases import base_folder
from core.registry.records import AdapterState
from core.settings import PROJECT_ROOT, Settings
from core.training.base_shape import BaseShape, read_base_shape
from core.training.cpu import cpu_has_bfloat16, training_threads
from core.training.estimate import FinishedRun, Machine, RowLengths, estimate, finished_runs, training_flops
from core.training.evaluate import held_out_rows
from core.training.gpu import gpu_free_bytes
from core.training.prompts import TokenCounter
from core.training.records import Estimate, TrainingSpec

KIND = "train"
MODELS_DIR = PROJECT_ROOT / "models"
RUNS_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Known:
    """What the database says about a run: its dataset, and how fast earlier runs were."""

    dataset: Dataset
    runs: tuple[FinishedRun, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A run that can be done: its data, measured with the tokenizer of its base."""

    spec: TrainingSpec
    dataset: Dataset
    examples: list[Example]
    base: BaseShape
    lengths: RowLengths
    runs: tuple[FinishedRun, ...] = ()

    @property
    def flops(self) -> float:
        """Floating point operations of the training."""
        return training_flops(self.spec, self.lengths, self.base)


def look_up(s: Session, tenant_id: str, spec: TrainingSpec) -> Known:
    """What the database says about a run that is to be. Short: nothing is read from files here.

    Raises NotFoundError (no such dataset), InvalidInputError (one that cannot be trained on).
    """
    dataset = datasets.get(s, tenant_id, spec.dataset_id)
    if dataset.kind is not DatasetKind.SFT:
        raise InvalidInputError(
            f"«{dataset.name}» cannot be trained on.",
            f"It is a set of kind «{dataset.kind}»; training needs prompts with their answers (sft).",
            "Choose a training set from the dataset library.",
        )
    done = jobs.list_jobs(s, tenant_id, kind=KIND, states=[JobState.SUCCEEDED], limit=RUNS_LOOKED_AT)
    return Known(dataset, tuple(finished_runs(done)))


def prepare(spec: TrainingSpec, known: Known, *, settings: Settings, models_dir: Path = MODELS_DIR) -> Work:
    """Everything that can be known before a run starts is checked here. Long: no transaction may be open meanwhile.

    Raises NotFoundError (no such base), InvalidInputError (the dataset or a value does not fit), RefusedFileError,
    IntegrityError, InsufficientMemoryError, UnavailableError.
    """
    work = read_work(spec, known, settings=settings, models_dir=models_dir)
    check_memory(estimate_work(work, settings))
    return work


def submit(
    s: Session, tenant_id: str, work: Work, *, submitted_by: str, now: datetime, submission: str | None = None
) -> tuple[Job, bool]:
    """Write the job row of a prepared run; it runs as soon as a worker is free. True: the job is a new one.

    `submission` as in `core.jobs.service.submit_once`. Raises NotFoundError when the dataset went away meanwhile,
    ConflictError when the name belongs to another kind of adapter.
    """
    check_name(s, tenant_id, work.spec)
    datasets.get(s, tenant_id, work.spec.dataset_id)
    row: dict[str, Any] = {
        "kind": KIND,
        "name": work.spec.name,
        "spec": work.spec.model_dump(mode="json"),
        "submitted_by": submitted_by,
        "now": now,
    }
    if submission is None:
        return jobs.submit(s, tenant_id, **row), True
    return jobs.submit_once(s, tenant_id, submission=submission, **row)


def submission_digest(spec: TrainingSpec, draft: str) -> str:
    """Names one run of one draft: the same draft with the same values is the same submission."""
    values = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{KIND} {draft} {values}".encode(errors="replace")).hexdigest()


def read_work(spec: TrainingSpec, known: Known, *, settings: Settings, models_dir: Path = MODELS_DIR) -> Work:
    """Read and check dataset and base of a run. Raises as `prepare` does, but not for a lack of memory."""
    base = find_base(spec, settings, models_dir)
    examples = datasets.read_examples(known.dataset)
    counter = TokenCounter(base.folder)
    sizes = dict(zip(map(id, examples), counter.lengths(examples), strict=True))
    problems = datasets.check_examples(
        examples,
        count_tokens=lambda example: sizes[id(example)][0],
        max_tokens=min(spec.max_length, base.context),
    )
    datasets.require_trainable(known.dataset.name, problems)
    evaluated = held_out_rows(examples, spec.evaluation_rows, spec.seed) if spec.evaluate else []
    lengths = RowLengths(
        train=tuple(sizes[id(e)] for e in examples if e.split is Split.TRAIN),
        evaluated_answers=tuple(sizes[id(e)][1] for e in evaluated),
    )
    return Work(spec, known.dataset, examples, base, lengths, known.runs)


def find_base(spec: TrainingSpec, settings: Settings, models_dir: Path = MODELS_DIR) -> BaseShape:
    """The base of this installation, if the spec can be trained on it.

    Raises NotFoundError, RefusedFileError, UnavailableError and InvalidInputError.
    """
    place = base_folder(settings.base_model, models_dir)
    if not isinstance(place, Path):
        raise UnavailableError(
            f"The base model {place} is not on this machine yet.",
            "A run is measured with the tokenizer of its base before it starts.",
            f"Fetch it once, for example with `hf download {place}`, and submit the run again.",
        )
    if spec.quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise UnavailableError(
            f"The base cannot be held in {spec.quantization}.",
            "The package bitsandbytes is not installed.",
            "Install requirements.txt, or train without quantization.",
        )
    base = read_base_shape(place, settings.base_model)
    names = {path.rpartition(".")[2] for path in base.linears}
    unknown = [name for name in spec.lora.target_modules if name not in names]
    if unknown:
        raise InvalidInputError(
            f"The base {base.name} has no layer «{unknown[0][:60]}».",
            f"Its linear layers are {', '.join(sorted(names))}.",
            "Choose target layers among these.",
        )
    return base


def check_name(s: Session, tenant_id: str, spec: TrainingSpec) -> None:
    """A name that is taken gets its next version, but only by an adapter of the same type. Raises ConflictError."""
    for adapter in registry.list_adapters(s, tenant_id, include_archived=True):
        if adapter.name == spec.name and adapter.type is not spec.adapter_type:
            raise ConflictError(
                f"There is a {adapter.type} adapter named «{spec.name}» already.",
                "All versions of a name are of one type.",
                "Choose another name.",
            )
        if adapter.name == spec.name and adapter.state is AdapterState.ACTIVE:
            return


def check_memory(estimated: Estimate) -> None:
    """Raise InsufficientMemoryError unless the run fits into the memory that is free now."""
    if estimated.fits:
        return
    needed, free = (_megabytes(b) for b in (estimated.memory_bytes, estimated.memory_available_bytes))
    largest = max(estimated.memory_parts, key=lambda part: estimated.memory_parts[part])
    advice = {
        "weights": "Hold the base in 4 bits, or choose a smaller one.",
        "activations": "Halve the batch size and double gradient accumulation.",
        "logits": "Halve the batch size and double gradient accumulation.",
        "adapter": "Lower the rank.",
        "optimizer": "Lower the rank.",
        "overhead": "Close other programs.",
    }
    raise InsufficientMemoryError(
        "The run does not fit into memory.",
        f"It needs about {needed}, most of it for {largest}; {free} are free.",
        advice[largest],
    )


def estimate_work(work: Work, settings: Settings) -> Estimate:
    """What a run that has been read would take on this machine."""
    return estimate(
        work.spec, work.lengths, work.base, this_machine(settings, work.base.parameters), work.runs
    )


def this_machine(settings: Settings, parameters: int | None = None) -> Machine:
    """Threads and free memory of the device that a run would use."""
    on_gpu = gpu_free_bytes(settings.device)
    return Machine(
        threads=training_threads(settings.training_threads, parameters),
        on_gpu=on_gpu is not None,
        free_bytes=free_bytes(None) if on_gpu is None else on_gpu,
        base_dtype=settings.base_dtype,
        mixed_precision=on_gpu is not None or cpu_has_bfloat16(),
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
