"""Training runs: estimate, submit, watch, cancel."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.actions import datasets
from app.bootstrap import Console
from core.jobs import service as jobs
from core.jobs.records import Job, JobPoint, JobState
from core.registry.records import AdapterType
from core.tenants import audit
from core.tenants.records import Permission, Principal
from core.training import service as training
from core.training.presets import PRESETS, plan_spec
from core.training.records import Estimate, Preset, TrainingSpec


class TrainingChoices(BaseModel):
    """What should differ from a preset; what is left out stays as the preset has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int | None = Field(None, ge=1, le=256)
    alpha: float | None = Field(None, gt=0, le=1024)
    dropout: float | None = Field(None, ge=0, lt=1)
    rslora: bool | None = None
    epochs: float | None = Field(None, gt=0, le=100)
    batch_size: int | None = Field(None, ge=1, le=256)
    learning_rate: float | None = Field(None, gt=0, le=0.1)
    max_length: int | None = Field(None, ge=16, le=131072)
    seed: int | None = Field(None, ge=0, lt=2**31)
    quantization: Literal["none", "8bit", "4bit"] | None = None
    evaluate: bool | None = None
    evaluation_rows: int | None = Field(None, ge=1, le=100000)


def presets() -> list[Preset]:
    """The named starting points."""
    return list(PRESETS)


def plan_training(
    c: Console,
    p: Principal,
    *,
    name: str,
    adapter_type: AdapterType,
    dataset: str,
    preset: str = "balanced",
    choices: TrainingChoices | None = None,
) -> TrainingSpec:
    """A preset with some choices of one's own. `dataset`: its id or name.

    Raises NotFoundError for a dataset that is not there, InvalidInputError for choices that contradict each other.
    """
    p.require(Permission.TRAIN)
    chosen = datasets.find_dataset(c, p, dataset)
    wanted = (choices or TrainingChoices()).model_dump(exclude_none=True)
    lora = {field: wanted.pop(field) for field in ("rank", "alpha", "dropout", "rslora") if field in wanted}
    return plan_spec(preset, adapter_type, chosen, name, lora=lora or None, **wanted)


def estimate_training(c: Console, p: Principal, spec: TrainingSpec) -> Estimate:
    """What this run would take here. Raises NotFoundError, InvalidInputError for a dataset that is not fit."""
    p.require(Permission.TRAIN)
    with c.database.reading() as s:
        known = training.look_up(s, p.tenant_id, spec)
    return training.estimate_work(training.read_work(spec, known, settings=c.settings), c.settings)


def submit_training(c: Console, p: Principal, spec: TrainingSpec, *, draft: str | None = None) -> Job:
    """Write the job, then hand it to the queue. Once this returns the job will run, whatever happens here.

    A `draft` becomes one job: submitted again with the same values, from another tab or by a second click, it
    answers the job that there is.
    """
    p.require(Permission.TRAIN)
    submission = None if draft is None else training.submission_digest(spec, draft)
    with c.database.reading() as s:
        if submission is not None and (job := jobs.find_submitted(s, p.tenant_id, submission)) is not None:
            return job
        known = training.look_up(s, p.tenant_id, spec)
    work = training.prepare(spec, known, settings=c.settings)
    now = c.clock()
    with c.database.transaction() as s:
        job, is_new = training.submit(
            s, p.tenant_id, work, submitted_by=p.actor, now=now, submission=submission
        )
        if not is_new:
            return job
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="training.submitted",
            subject=job.id,
            detail={"name": spec.name, "dataset_id": spec.dataset_id, "type": spec.adapter_type.value},
            now=now,
        )
    # Where the queue cannot be reached, the worker finds the row and the job runs a little later.
    c.queue.enqueue(job.id)
    return job


def cancel_job(c: Console, p: Principal, job_id: str) -> Job:
    """End a queued job now, ask a running one to stop. Raises IllegalTransitionError when it has ended."""
    p.require(Permission.TRAIN)
    now = c.clock()
    with c.database.transaction() as s:
        job = jobs.request_cancel(s, p.tenant_id, job_id, now=now)
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="training.cancelled",
            subject=job.id,
            detail={"name": job.name},
            now=now,
        )
    return job


def list_jobs(
    c: Console,
    p: Principal,
    *,
    kind: str | None = None,
    states: list[JobState] | None = None,
    limit: int = 100,
) -> list[Job]:
    """Jobs of every kind, or of one, newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return jobs.list_jobs(s, p.tenant_id, kind=kind, states=states, limit=limit)


def get_job(c: Console, p: Principal, job_id: str) -> Job:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return jobs.get(s, p.tenant_id, job_id)


def job_points(c: Console, p: Principal, job_id: str) -> list[JobPoint]:
    """The curve of a job, by step. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return jobs.points(s, p.tenant_id, job_id)
