"""Training runs: estimate, submit, watch, cancel."""

from app.bootstrap import Console
from core.jobs import service as jobs
from core.jobs.records import Job, JobPoint, JobState
from core.tenants import audit
from core.tenants.records import Permission, Principal
from core.training import service as training
from core.training.presets import PRESETS
from core.training.records import Estimate, Preset, TrainingSpec

def presets() -> list[Preset]:
    """The named starting points."""
    return list(PRESETS)


def estimate_training(c: Console, p: Principal, spec: TrainingSpec) -> Estimate:
    """What this run would take here. Raises NotFoundError, InvalidInputError for a dataset that is not fit."""
    p.require(Permission.TRAIN)
    with c.database.reading() as s:
        return training.estimate_run(s, p.tenant_id, spec, settings=c.settings)


def submit_training(c: Console, p: Principal, spec: TrainingSpec) -> Job:
    """Write the job, then hand it to the queue. Once this returns the job will run, whatever happens here."""
    p.require(Permission.TRAIN)
    now = c.clock()
    with c.database.transaction() as s:
        job = training.submit(s, p.tenant_id, spec, submitted_by=p.actor, settings=c.settings, now=now)
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
    c: Console, p: Principal, *, states: list[JobState] | None = None, limit: int = 100
) -> list[Job]:
    """Newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return jobs.list_jobs(s, p.tenant_id, states=states, limit=limit)


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
